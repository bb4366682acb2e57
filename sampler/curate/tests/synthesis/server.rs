//! A server with OpenAI's interface that does what a test tells it.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;
use tercet_fixtures::completions;
pub use tercet_fixtures::completions::completion;

/// What becomes of a request.
pub enum Act {
    /// A question about the paragraph, as [`question`] asks it.
    Answer,
    /// This text as the answer.
    Say(String),
    /// A status, headers and a body.
    Status(u16, &'static str, String),
    /// Half of an answer, and the end of the connection.
    Cut,
    /// No answer until the client is gone.
    Silence,
}

/// What came in.
#[derive(Default)]
pub struct Seen {
    /// Bodies of all requests, with when they came and what their headers were.
    pub requests: Vec<(Value, Instant, String)>,
    /// Bodies of those that were answered whole, as far as this end can tell.
    pub answered: Vec<Value>,
    /// Tokens of these.
    pub tokens: u64,
}

/// One that serves until the test ends.
pub struct Server {
    pub endpoint: String,
    pub seen: Arc<Mutex<Seen>>,
}

impl Server {
    /// One that does what `act` says of the n-th request, from 0.
    pub fn new(act: impl Fn(usize, &Value) -> Act + Send + Sync + 'static) -> Self {
        let (seen, act) = (Arc::new(Mutex::new(Seen::default())), Arc::new(act));
        let served = seen.clone();
        let endpoint = completions::listen(move |stream| serve(stream, &served, &*act));
        Self { endpoint, seen }
    }

    /// One that answers everything.
    pub fn good() -> Self {
        Self::new(|_, _| Act::Answer)
    }

    pub fn num_requests(&self) -> usize {
        self.seen.lock().unwrap().requests.len()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Seen>, act: &dyn Fn(usize, &Value) -> Act) -> std::io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some((headers, body)) = completions::next_request(&mut requests)? {
        assert!(headers.starts_with("post /v1/chat/completions "), "{headers}");
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.requests.push((body.clone(), Instant::now(), headers));
            seen.requests.len() - 1
        };
        let (status, more, text, is_cut) = match act(number, &body) {
            Act::Answer => (200, "", completion(&body, &question(&body)).to_string(), false),
            Act::Say(text) => (200, "", completion(&body, &text).to_string(), false),
            Act::Status(status, more, text) => (status, more, text, false),
            Act::Cut => (200, "", completion(&body, &question(&body)).to_string(), true),
            Act::Silence => {
                requests.read_to_end(&mut Vec::new())?;
                return Ok(());
            }
        };
        let len = text.len();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {len}\r\n\r\n");
        let sent = if is_cut { &text[..len / 2] } else { &text };
        if status == 200 && !is_cut {
            let mut seen = seen.lock().unwrap();
            seen.answered.push(body.clone());
            let usage = completion(&body, "")["usage"].clone();
            seen.tokens += usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
        }
        stream.write_all(head.as_bytes())?;
        stream.write_all(sent.as_bytes())?;
        if is_cut {
            break;
        }
    }
    Ok(())
}

/// A question about what a paragraph of [`super::documents`] is about.
pub fn question(request: &Value) -> String {
    let prompt = completions::prompt(request);
    let named = |mark: &str| {
        let (_, rest) = prompt.split_once(mark)?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!number.is_empty()).then(|| format!("{mark}{number}"))
    };
    if let Some(name) = named("Topic") {
        return format!("Which discoveries about {name} were most important for historians of the whole region?");
    }
    if let Some(name) = named("Thema") {
        return format!("Welche Entdeckungen über {name} waren für die Geschichtsschreibung der Region wichtig?");
    }
    format!("{}的研究对历史学家有什么重要意义？", named("主题").unwrap())
}
