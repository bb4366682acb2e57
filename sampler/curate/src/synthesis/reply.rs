//! What a server's reply means, over HTTP or in a batch file.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

/// Characters of a server's text that a message repeats.
const SHOWN: usize = 300;

/// What became of a request.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// The language model answered.
    Answered(Answer),
    /// The request is at fault: it is not sent again.
    Refused {
        /// HTTP's status.
        status: u16,
        /// What the server says.
        reason: String,
    },
    /// It can be sent again.
    Again {
        /// What it may have used.
        used: MayHaveUsed,
        /// What happened.
        why: String,
        /// How long the server wants to be left alone.
        wait: Option<Duration>,
    },
    /// No request will succeed before somebody changes something.
    Stop(String),
}

/// What a request may have used that was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayHaveUsed {
    /// It did not reach a server.
    Nothing,
    /// The server declined it: no tokens.
    NoTokens,
    /// The server may have worked on it: all that it can use.
    All,
}

/// What the language model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its words.
    pub text: String,
    /// Why it stopped.
    pub finish: Option<String>,
    /// Tokens in and out, if the server counts.
    pub tokens: Option<(u64, u64)>,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// What a reply with this status and body means.
pub fn judge(status: u16, body: &str, wait: Option<Duration>) -> Reply {
    let why = || format!("HTTP {status}: {}", said(body));
    match status {
        200 => match completion(body) {
            Ok(answer) => Reply::Answered(answer),
            Err(reason) => {
                let why = format!("HTTP 200 with a body that is no answer ({reason}): {}", shown(body));
                Reply::Again { used: MayHaveUsed::All, why, wait }
            }
        },
        400 | 413 | 422 => Reply::Refused { status, reason: said(body) },
        429 if error_code(body).as_deref() == Some("insufficient_quota") => Reply::Stop(why()),
        // Busy, or not ready yet: both are said before any work.
        429 | 503 => Reply::Again { used: MayHaveUsed::NoTokens, why: why(), wait },
        408 | 409 | 425 | 500..=599 => Reply::Again { used: MayHaveUsed::All, why: why(), wait },
        _ => Reply::Stop(why()),
    }
}

/// What it means that a server redirects to this `location`.
pub fn redirected(status: u16, location: Option<&str>) -> Reply {
    let to = location.map(|location| format!(" to {}", shown(location))).unwrap_or_default();
    let route = location.filter(|location| location.contains("://")).map(|location| {
        let route = location.trim_end_matches('/').trim_end_matches("/chat/completions");
        format!(": write llm.endpoint = {:?} if that is the server you mean", shown(route))
    });
    let route = route.unwrap_or_else(|| ": llm.endpoint must be the address that this leads to".to_owned());
    Reply::Stop(format!(
        "HTTP {status}: the endpoint redirects{to}, and is not followed, as that would get the key{route}"
    ))
}

/// The answer in a response's body, or why there is none.
fn completion(body: &str) -> Result<Answer, String> {
    let completion: Completion = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let choice = completion.choices.into_iter().next().ok_or("no choices")?;
    Ok(Answer {
        text: choice.message.content.unwrap_or_default(),
        finish: choice.finish_reason,
        tokens: completion.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens)),
    })
}

/// The message of an error's body, or the body's beginning.
pub fn said(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let message = value.pointer("/error/message").or_else(|| value.get("message")).or_else(|| value.get("detail"));
    match message.or_else(|| value.get("error")).and_then(Value::as_str) {
        Some(message) => shown(message),
        None if body.trim().is_empty() => "no reason is given".to_owned(),
        None => shown(body),
    }
}

fn error_code(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    value.pointer("/error/code").and_then(Value::as_str).map(str::to_owned)
}

/// A text's beginning on one line.
pub fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The wait that a `Retry-After` asks for: seconds, or a date.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(secs) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(secs).ok();
    }
    // A time that has passed is no wait.
    httpdate::parse_http_date(value).ok().map(|at| at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_ask_for_waits_in_seconds_or_by_date() {
        let now = httpdate::parse_http_date("Sun, 29 Nov 2026 22:00:00 GMT").unwrap();
        let secs = |value| retry_after(value, now).map(|wait| wait.as_secs_f64());
        assert_eq!(secs("7"), Some(7.0));
        assert_eq!(secs(" 0.5 "), Some(0.5));
        assert_eq!(secs("Sun, 29 Nov 2026 22:01:30 GMT"), Some(90.0));
        assert_eq!(secs("Sun, 29 Nov 2026 21:00:00 GMT"), Some(0.0));
        assert_eq!(secs("-1"), None);
        assert_eq!(secs("soon"), None);
    }

    #[test]
    fn replies_mean_what_they_say() {
        let body = r#"{"choices": [{"message": {"content": "Why?"}, "finish_reason": "stop"}],
                       "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}"#;
        let answer = Answer { text: "Why?".into(), finish: Some("stop".into()), tokens: Some((7, 2)) };
        assert_eq!(judge(200, body, None), Reply::Answered(answer));
        fn again(status: u16, body: &str) -> bool {
            matches!(judge(status, body, None), Reply::Again { used: MayHaveUsed::All, .. })
        }
        assert!(again(200, &body[..40]) && again(200, &[body, body].concat()) && again(200, "{\"choices\": []}"));
        assert!(again(500, "") && again(502, "<html>") && !again(503, "loading") && !again(429, "slow down"));
        let reason = "too long".to_owned();
        assert_eq!(judge(400, r#"{"error": {"message": "too  long"}}"#, None), Reply::Refused { status: 400, reason });
        for (status, body) in
            [(401, ""), (403, ""), (404, ""), (307, ""), (429, r#"{"error": {"code": "insufficient_quota"}}"#)]
        {
            assert!(matches!(judge(status, body, None), Reply::Stop(_)), "{status}");
        }
    }
}
