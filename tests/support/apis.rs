//! Providers' HTTP APIs, each with its own rules: its fields and no others, its limits, its errors, and proof of who calls.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A call as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The fields of a form.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What the other side does with a call.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// It answers.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// It hangs up.
    Nothing,
}

impl Said {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, vec![("Content-Type", "application/json".to_owned())], body.to_string())
    }
}

/// A server that speaks HTTP.
pub(crate) struct Api {
    /// `http://127.0.0.1:port`.
    pub(crate) base: String,
    seen: Arc<Mutex<Vec<Call>>>,
}

impl Api {
    pub(crate) fn start(rules: impl Fn(&Call) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (seen, rules) = (Arc::new(Mutex::new(Vec::new())), Arc::new(rules));
        let notes = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (notes, rules) = (Arc::clone(&notes), Arc::clone(&rules));
                std::thread::spawn(move || {
                    let Some(call) = read(&stream) else { return };
                    notes.lock().unwrap().push(call.clone());
                    if let Said::Answer(status, headers, body) = rules(&call) {
                        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                        let length = body.len();
                        let answer =
                            format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}");
                        let _ = (&stream).write_all(answer.as_bytes());
                    }
                });
            }
        });
        Self { base, seen }
    }

    /// The calls that came in.
    pub(crate) fn seen(&self) -> Vec<Call> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Call> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut first = line.split_whitespace();
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Call { method, path, headers, body })
}

/// What a provider does with a sound letter, by how many it has seen before.
pub(crate) type Fate = fn(usize) -> Does;

/// What a provider does with a sound letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// It takes it and says so.
    Takes,
    /// It takes it, and answers with a fault.
    TakesAndFails,
    /// It takes it, and hangs up.
    TakesAndHangsUp,
    /// It refuses the letter.
    Refuses,
    /// It refuses it because nobody has the address.
    KnowsNobody,
    /// It has had too many.
    IsBusy,
}

/// A provider of mail.
pub(crate) struct Provider {
    pub(crate) api: Api,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// A letter a provider took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// The message id it was given.
    pub(crate) id: String,
    /// Whom it was for.
    pub(crate) to: String,
    /// What it will name it by when it tells of it: our name for it.
    pub(crate) perennial_id: String,
    /// All that it was told.
    pub(crate) told: Value,
}

impl Provider {
    fn start(
        fate: Fate,
        sound: impl Fn(&Call) -> Result<Taken, Said> + Send + Sync + 'static,
        answer: impl Fn(Does, usize) -> Said + Send + Sync + 'static,
    ) -> Self {
        let taken: Arc<Mutex<Vec<Taken>>> = Arc::default();
        let (kept, count) = (Arc::clone(&taken), Mutex::new(0));
        let api = Api::start(move |call| {
            let letter = match sound(call) {
                Ok(letter) => letter,
                Err(said) => return said,
            };
            let number = {
                let mut count = count.lock().unwrap();
                *count += 1;
                *count - 1
            };
            let does = fate(number);
            if matches!(does, Does::Takes | Does::TakesAndFails | Does::TakesAndHangsUp) {
                kept.lock().unwrap().push(letter);
            }
            if does == Does::TakesAndHangsUp { Said::Nothing } else { answer(does, number) }
        });
        Self { api, taken }
    }

    /// The letters it took.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// Amazon SES, API version 2, in `eu-west-1`, for the key `AKIDEXAMPLE`.
    pub(crate) fn ses(fate: Fate) -> Self {
        let error = |status, kind: &str, message: &str| {
            Said::Answer(
                status,
                vec![("x-amzn-ErrorType", format!("{kind}:http://internal.amazon.com/"))],
                json!({"message": message}).to_string(),
            )
        };
        let sound = move |call: &Call| {
            if !is_signed(call) {
                return Err(error(403, "InvalidSignatureException", "The request signature we calculated does not match."));
            }
            if (call.method.as_str(), call.path.as_str()) != ("POST", "/v2/email/outbound-emails") {
                return Err(error(404, "UnknownOperationException", ""));
            }
            let told = call.json();
            let known = ["FromEmailAddress", "Destination", "Content", "ConfigurationSetName", "EmailTags"];
            let fields = told.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains(&name.as_str())));
            let mime = told["Content"]["Raw"]["Data"].as_str().and_then(|data| STANDARD.decode(data).ok()).unwrap_or_default();
            let mime = String::from_utf8_lossy(&mime).into_owned();
            let tag = &told["EmailTags"][0];
            let word = tag["Value"].as_str().unwrap_or_default().to_owned();
            let plain =
                !word.is_empty() && word.len() <= 256 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            let to = told["Destination"]["ToAddresses"][0].as_str().unwrap_or_default().to_owned();
            if !fields || !plain || tag["Name"] != "perennial_id" || !mime.contains("\r\n\r\n") || !to.contains('@') {
                return Err(error(400, "BadRequestException", "The input you provided is invalid."));
            }
            if told["FromEmailAddress"] != "hello@fernwood.example" {
                return Err(error(400, "MailFromDomainNotVerifiedException", ""));
            }
            let id = super::mailbox::Letter::of(mime.as_bytes()).id;
            Ok(Taken { id, to, perennial_id: word, told: json!({ "mime": mime }) })
        };
        let answer = move |does, number| match does {
            Does::Refuses | Does::KnowsNobody => error(400, "MessageRejected", "The message contains invalid content."),
            Does::IsBusy => error(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
            Does::TakesAndFails => error(500, "InternalFailure", ""),
            Does::Takes | Does::TakesAndHangsUp => Said::json(200, &json!({ "MessageId": format!("0102019abc-{number:012}-000000") })),
        };
        Self::start(fate, sound, answer)
    }

    /// Postmark, with the server's token `pm-token` and the stream `broadcast`.
    pub(crate) fn postmark(fate: Fate) -> Self {
        let error = |status, code: u32, message: &str| Said::json(status, &json!({ "ErrorCode": code, "Message": message }));
        let sound = move |call: &Call| {
            if call.header("x-postmark-server-token") != "pm-token" || call.header("accept") != "application/json" {
                return Err(error(401, 10, "No Account or Server API tokens were supplied in the HTTP headers."));
            }
            let told = call.json();
            let known = [
                "From",
                "To",
                "ReplyTo",
                "Subject",
                "HtmlBody",
                "TextBody",
                "MessageStream",
                "Tag",
                "TrackOpens",
                "TrackLinks",
                "Metadata",
                "Headers",
            ];
            let fields = told.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains(&name.as_str())));
            let texts = ["To", "ReplyTo", "Subject", "HtmlBody", "TextBody", "Tag"];
            let texts = texts.iter().all(|name| told[*name].as_str().is_some_and(|text| !text.is_empty()));
            let metadata = told["Metadata"].as_object().is_some_and(|pairs| {
                pairs.len() <= 10
                    && pairs.iter().all(|(name, value)| name.len() <= 20 && value.as_str().is_some_and(|text| text.len() <= 80))
            });
            let headers = told["Headers"].as_array().cloned().unwrap_or_default();
            let header = |name: &str| headers.iter().find(|header| header["Name"] == name).and_then(|header| header["Value"].as_str());
            // It sets these itself.
            let own = ["From", "To", "Subject", "Date", "Content-Type", "MIME-Version"].iter().any(|name| header(name).is_some());
            if !fields || !texts || !metadata || own || call.path != "/email" {
                return Err(error(422, 300, "Invalid email request"));
            }
            if told["From"] != "Fernwood <hello@fernwood.example>" {
                return Err(error(422, 400, "The 'From' address you supplied is not a Sender Signature on your account."));
            }
            if told["MessageStream"] != "broadcast" {
                return Err(error(422, 1235, "The stream provided does not exist on this server."));
            }
            let kept = header("X-PM-KeepID") == Some("true");
            let id = header("Message-ID").filter(|_| kept).unwrap_or_default().trim_matches(['<', '>']).to_owned();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            Ok(Taken { id, to: text(&told["To"]), perennial_id: text(&told["Metadata"]["perennial_id"]), told })
        };
        let answer = move |does, number| match does {
            Does::Refuses => error(422, 300, "Invalid 'To' address."),
            Does::KnowsNobody => error(
                422,
                406,
                "You tried to send to a recipient that has been marked as inactive. Found inactive addresses: ann@example.org.",
            ),
            Does::IsBusy => Said::Answer(
                429,
                vec![("Retry-After", "0".to_owned())],
                json!({"ErrorCode": 429, "Message": "Rate limit exceeded"}).to_string(),
            ),
            Does::TakesAndFails => error(500, 0, "Internal server error"),
            Does::Takes | Does::TakesAndHangsUp => {
                Said::json(200, &json!({ "MessageID": format!("0a129aee-{number}"), "ErrorCode": 0, "Message": "OK" }))
            }
        };
        Self::start(fate, sound, answer)
    }
}

/// Whether a call is signed as AWS asks for, Signature Version 4, by the key `AKIDEXAMPLE` with the secret `wJalrXUtnFEMI`, for `ses` in
/// `eu-west-1`, within five minutes.
fn is_signed(call: &Call) -> bool {
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let authorization = call.header("authorization");
    let part = |name: &str| authorization.split([' ', ',']).find_map(|part| part.strip_prefix(name)).unwrap_or_default();
    let time = call.header("x-amz-date");
    let Ok(moment) = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ") else { return false };
    let day = &time[..8];
    let scope = format!("{day}/eu-west-1/ses/aws4_request");
    let signed: Vec<&str> = part("SignedHeaders=").split(';').collect();
    let headers: String = signed.iter().map(|name| format!("{name}:{}\n", call.header(name))).collect();
    let payload = hex::encode(Sha256::digest(&call.body));
    let canonical = format!("{}\n{}\n\n{headers}\n{}\n{payload}", call.method, call.path, signed.join(";"));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let key = ["eu-west-1", "ses", "aws4_request"].iter().fold(mac(b"AWS4wJalrXUtnFEMI", day), |key, part| mac(&key, part));
    part("Credential=") == format!("AKIDEXAMPLE/{scope}")
        && ["content-type", "host", "x-amz-date"].iter().all(|name| signed.contains(name))
        && part("Signature=") == hex::encode(mac(&key, &text))
        && (chrono::Utc::now().naive_utc() - moment).abs() < chrono::TimeDelta::minutes(5)
}
