//! An endpoint with OpenAI's interface, and the key that nobody else gets to see.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error, Timeout};

use super::recipe::Llm;
use super::reply::{MayHaveUsed, Reply, judge, retry_after};
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
            let wait = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let wait = wait.and_then(|value| retry_after(value, SystemTime::now()));
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
            Error::Rustls(rustls::Error::InvalidCertificate(_)) => return Reply::Stop(why),
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

impl Secret {
    /// The reply without the key, which a server may repeat.
    fn hidden(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Answered(mut answer) => {
                answer.text = self.hide(answer.text);
                Reply::Answered(answer)
            }
            Reply::Refused { status, reason } => Reply::Refused { status, reason: self.hide(reason) },
            Reply::Again { used, why, wait } => Reply::Again { used, why: self.hide(why), wait },
            Reply::Stop(why) => Reply::Stop(self.hide(why)),
        }
    }

    /// `text` without the key, and without words that begin or end as a long one does: servers repeat keys with stars
    /// in their middle.
    fn hide(&self, text: String) -> String {
        let Some(key) = &self.0 else { return text };
        let text = text.replace(key.as_str(), HIDDEN);
        if key.len() < 16 {
            return text;
        }
        let (first, last) = (&key[..8], &key[key.len() - 4..]);
        let is_part = |word: &str| {
            let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '*');
            word.contains(first) || word.contains('*') && word.ends_with(last)
        };
        text.split_inclusive(char::is_whitespace)
            .map(|word| match is_part(word) {
                true => format!("{HIDDEN}{}", if word.ends_with(char::is_whitespace) { " " } else { "" }),
                false => word.to_owned(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(Secret(Some("EMPTY".into())).hide("EMPTY or not".into()), "[key] or not");
    }
}
