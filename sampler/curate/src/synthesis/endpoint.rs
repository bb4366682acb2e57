//! An endpoint with OpenAI's interface, and the key that nobody else gets to see.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error, Timeout};

use super::recipe::Llm;
use super::reply::{MayHaveUsed, Reply, judge, redirected, retry_after};
use crate::error::CurateError;

/// Bytes of a reply that are read: many times the longest answer.
const MAX_REPLY: u64 = 16 << 20;

/// What stands in place of the key.
const HIDDEN: &str = "[key]";

/// Where requests go.
pub struct Endpoint {
    agent: Agent,
    url: String,
    key: Secret,
}

/// A key, or none.
struct Secret(Option<String>);

impl Endpoint {
    /// The endpoint of a recipe, with the key from the environment.
    ///
    /// # Errors
    /// The variable is not set, or what it has cannot be sent.
    pub fn new(llm: &Llm) -> Result<Self, CurateError> {
        let key = match &llm.api_key_env {
            None => None,
            Some(name) => {
                let key = std::env::var(name).unwrap_or_default().trim().to_owned();
                if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
                    let reason = "is to have the key, and has none, or one with other characters than a key's";
                    // A key can look like a name, so only what looks like no key is repeated.
                    let is_plain = name.len() <= 40 && !name.contains(|c: char| c.is_ascii_lowercase());
                    let name = if is_plain { name } else { "that it names" };
                    return Err(CurateError::Usage(format!(
                        "llm.api_key_env: the environment variable {name} {reason}"
                    )));
                }
                Some(key)
            }
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(Duration::from_secs_f64(llm.timeout_secs)))
            .http_status_as_error(false)
            // Another place must not get the key.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(llm.concurrency)
            .max_idle_connections(llm.concurrency)
            .user_agent(concat!("tercet/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let url = format!("{}/chat/completions", llm.endpoint.trim_end_matches('/'));
        Ok(Self { agent, url, key: Secret(key) })
    }

    /// Sends a request, and waits for what becomes of it.
    pub fn post(&self, body: &str) -> Reply {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key.0 {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let reply = request.send(body).and_then(|mut response| {
            let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            let wait = header("retry-after").and_then(|value| retry_after(&value, SystemTime::now()));
            if response.status().is_redirection() {
                return Ok(redirected(response.status().as_u16(), header("location").as_deref()));
            }
            let read = response.body_mut().with_config().limit(MAX_REPLY).lossy_utf8(true).read_to_string();
            match (response.status().as_u16(), read) {
                // An error says enough without its body.
                (status, Err(_)) if status != 200 => Ok(judge(status, "", wait)),
                (status, read) => Ok(judge(status, &read?, wait)),
            }
        });
        self.key.hidden(reply.unwrap_or_else(|error| self.failed(&error)))
    }

    /// What it means that a request failed without a reply.
    fn failed(&self, error: &Error) -> Reply {
        use std::io::ErrorKind as Kind;
        let why = format!("{}: {error}", self.url);
        let used = match error {
            Error::BadUri(_) | Error::Http(_) | Error::InvalidProxyUrl => return Reply::Stop(why),
            _ if let Some(reason) = tls_error(error) => return Reply::Stop(format!("{}: {reason}", self.url)),
            Error::HostNotFound | Error::ConnectionFailed => MayHaveUsed::Nothing,
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => MayHaveUsed::Nothing,
            Error::Io(error)
                if [Kind::ConnectionRefused, Kind::HostUnreachable, Kind::NetworkUnreachable]
                    .contains(&error.kind()) =>
            {
                MayHaveUsed::Nothing
            }
            _ => MayHaveUsed::All,
        };
        Reply::Again { used, why, wait: None }
    }
}

/// What is wrong with a connection that TLS does not let come about, and what to do. None: it is something else, or may
/// pass.
fn tls_error(error: &Error) -> Option<String> {
    let error = match error {
        Error::Rustls(error) => error,
        // It comes wrapped, as connections are made when they are first written to.
        Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        _ => return None,
    };
    let what_to_do = match error {
        rustls::Error::InvalidCertificate(_) => {
            "the server's certificate is not trusted: llm.endpoint must have the name that it was issued for, and \
             SSL_CERT_FILE may name a file with the certificate of who issued it"
        }
        rustls::Error::InvalidMessage(_) => {
            "what answers does not speak TLS: is it an http:// address, or another port?"
        }
        rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_) => {
            "the server and this program agree on no way to speak TLS: the server must have TLS 1.2 or 1.3, and ask for \
             no certificate"
        }
        _ => return None,
    };
    Some(format!("{what_to_do} ({error})"))
}

/// Characters of a key that is one: what is shorter ("EMPTY", "x") stands in place of a key, and is a word as others
/// are.
const LEAST_KEY: usize = 8;

impl Secret {
    /// The reply without the key, which a server may repeat.
    fn hidden(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Answered(mut answer) => {
                answer.text = self.hide_in_answer(answer.text);
                answer.finish = answer.finish.map(|finish| self.hide(finish));
                Reply::Answered(answer)
            }
            Reply::Refused { status, reason } => Reply::Refused { status, reason: self.hide(reason) },
            Reply::Again { used, why, wait } => Reply::Again { used, why: self.hide(why), wait },
            Reply::Stop(why) => Reply::Stop(self.hide(why)),
        }
    }

    /// An answer without the key, or long pieces of a long one: shorter ones may be words of a question.
    fn hide_in_answer(&self, text: String) -> String {
        match &self.0 {
            Some(key) if key.len() >= 16 => without_runs(&text, key, 12),
            Some(key) if key.len() >= LEAST_KEY => text.replace(key.as_str(), HIDDEN),
            _ => text,
        }
    }

    /// A message without pieces of the key, and without words that begin or end as it does around a mask: servers
    /// repeat keys with stars in their middle.
    fn hide(&self, text: String) -> String {
        let Some(key) = self.0.as_ref().filter(|key| key.len() >= LEAST_KEY) else { return text };
        let is_part = |word: &str| {
            let word = word.replace("...", "*").replace('…', "*");
            let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '*');
            let (Some((before, _)), Some((_, after))) = (word.split_once('*'), word.rsplit_once('*')) else {
                return false;
            };
            // A quotation mark or the like may stand before it.
            before.contains(&key[..3]) || before.contains(HIDDEN) || after.contains(&key[key.len() - 3..])
        };
        without_runs(&text, key, LEAST_KEY)
            .split_inclusive(char::is_whitespace)
            .map(|word| match is_part(word) {
                true => format!("{HIDDEN}{}", if word.ends_with(char::is_whitespace) { " " } else { "" }),
                false => word.to_owned(),
            })
            .collect()
    }
}

/// `text` without any run of at least `least` characters that the key has as well; a key is of ASCII.
fn without_runs(text: &str, key: &str, least: usize) -> String {
    let (bytes, key) = (text.as_bytes(), key.as_bytes());
    let has = |run: &[u8]| key.windows(run.len()).any(|part| part == run);
    let (mut kept, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(c) = text[at..].chars().next() {
        let mut len = least;
        if bytes.len() < at + len || !has(&bytes[at..at + len]) {
            kept.push(c);
            at += c.len_utf8();
            continue;
        }
        while at + len < bytes.len() && len < key.len() && has(&bytes[at..=at + len]) {
            len += 1;
        }
        kept += HIDDEN;
        at += len;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tls_refuses_is_not_tried_again_and_says_what_to_do() {
        let error = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        for error in [Error::Rustls(error()), Error::Io(std::io::Error::other(error()))] {
            assert!(tls_error(&error).unwrap().contains("SSL_CERT_FILE"));
        }
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert!(tls_error(&Error::Rustls(alert)).unwrap().contains("ask for no certificate"));
        assert!(tls_error(&Error::ConnectionFailed).is_none());
    }

    #[test]
    fn a_key_is_hidden_whole_or_in_part() {
        let secret = Secret(Some("sk-proj-0123456789abcdef".into()));
        let hide = |text: &str| secret.hide(text.into());
        assert_eq!(hide("bad key \"sk-proj-0123456789abcdef\"!"), "bad key \"[key]\"!");
        assert_eq!(
            hide("Incorrect API key provided: sk-proj-********cdef. See x"),
            "Incorrect API key provided: [key] See x"
        );
        assert_eq!(hide("ends in ****cdef"), "ends in [key]");
        assert_eq!(hide("nothing of it"), "nothing of it");
        assert_eq!(Secret(None).hide("as it is".into()), "as it is");
        assert_eq!(hide("a piece: j-0123456789abcde, or sk-proj-01"), "a piece: j-[key], or [key]".replace("j-", ""));
        assert_eq!(hide("sk-...def and sk-…"), "[key] [key]".replace(' ', " and "));
        let answer = |text: &str| secret.hide_in_answer(text.into());
        assert_eq!(
            answer("Was sk-proj-0123456789abcdef, or proj-0123456, 01234567?"),
            "Was [key], or [key], 01234567?"
        );
        for short in ["EMPTY", "main", "e"] {
            let (secret, text) = (Secret(Some(short.into())), "EMPTY or the main one");
            assert_eq!((secret.hide(text.into()), secret.hide_in_answer(text.into())), (text.into(), text.into()));
        }
    }
}
