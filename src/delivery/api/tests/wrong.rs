//! What would harm is found before a run, with its line and what to do.

use super::{super::description::Description, *};
use crate::diagnosis::Diagnosis;

const HEAD: &str = "channel = \"webhook\"\nurl = \"https://api.example/hook\"\n";
const LETTER: &str = "channel = \"email\"\nurl = \"https://api.example/mail\"\n";

fn found(text: &str) -> Vec<Diagnosis> {
    Api::read(text, Path::new("apis/x.toml"), &BTreeMap::new()).err().unwrap_or_default()
}

/// The first finding: code, line, message and hint in one.
fn first(text: &str) -> (String, Option<usize>, String) {
    let found = found(text);
    let Some(first) = found.first() else { panic!("nothing is wrong with:\n{text}") };
    assert!(first.message.starts_with(|c: char| !c.is_uppercase() || c == 'L' || c == 'S'), "{}", first.message);
    (first.code.clone(), first.line, format!("{}; {}", first.message, first.hint.clone().unwrap()))
}

#[test]
fn keys_are_known_and_the_nearest_is_named() {
    for (rest, line, hint) in [
        ("heders = {}\n", 3, "did you mean `headers`?"),
        ("method = \"putt\"\n", 3, "did you mean `put`?"),
        ("auth = { bearr = { token = { env = \"X\" } } }\n", 3, "did you mean `bearer`?"),
        ("auth = { bearer = { tokn = { env = \"X\" } } }\n", 3, "did you mean `token`?"),
        ("auth = { bearer = { token = \"s3cret\" } }\n", 3, "keep it elsewhere"),
        ("[[answers]]\nmeanz = \"closed\"\n", 4, "did you mean `means`?"),
        ("[[answers]]\nstatus = [409]\nmeans = \"acepted\"\n", 5, "did you mean `accepted`?"),
        ("idempotency = { honors = true }\n", 3, "did you mean `honours`?"),
        ("timeout = \"soon\"\n", 3, "correct the value"),
    ] {
        let (_, at, words) = first(&format!("{HEAD}{rest}"));
        assert_eq!(at, Some(line), "{rest}: {words}");
        assert!(words.contains(hint) && !words.contains("s3cret"), "{rest}: {words}");
    }
}

#[test]
fn addresses_lead_to_one_host_in_the_internet() {
    for (url, more, words) in [
        ("http://api.example/", "", "would cross the network in the open"),
        ("https://127.0.0.1/", "", "`127.0.0.1` is 127.0.0.1, which is not an address in the internet"),
        ("https://2130706433/", "", "is not an address in the internet"),
        ("https://[::ffff:169.254.169.254]/latest", "", "is not an address in the internet"),
        ("https://me:pw@api.example/", "", "is not the address of a host"),
        ("ftp://api.example/", "", "is no web address"),
        ("api.example/hook", "", "is not the address of a host"),
        ("https://api.example/#top", "", "no `#`"),
        ("https://{customer_id}.example/", "", "would decide which host is called"),
        ("https://api.example{message_id}/", "", "would decide which host is called"),
        ("{campaign}://api.example/", "", "would decide which host is called"),
        ("https://{region}.example/", "", "nothing is called `region` here"),
        ("https://api.example/{message}", "", "did you mean `message_id`?"),
        ("https://{region}.example/", "[values]\nregion = \"evil.example/\"\n", "is not the address of a host"),
        ("https://{region}.example/", "[values]\nregion = \"x@evil\"\n", "is not the address of a host"),
        ("https://{region}.example/", "[values]\nregion = \"\"\n", "`region` is yet to be filled in"),
        ("https://{region}.example/", "[values]\nregion = \"a\\nb\"\n", "line break"),
        ("https://api.example/{secret}", "", "nothing says which"),
        ("https://api.example/", "auth = { path = { secret = { env = \"X\" } } }\n", "does not say where it belongs"),
        ("https://api.example/", "optional = [\"regoin\"]\n[values]\nregion = \"x\"\n", "did you mean `region`?"),
    ] {
        let (_, line, message) = first(&format!("channel = \"webhook\"\nurl = \"{url}\"\n{more}"));
        assert!(message.contains(words), "{url}: {message}");
        assert!(line.is_some(), "{url}");
    }
    for sound in ["http://crm.internal:8080/x", "https://10.0.0.1/", "http://[::1]/"] {
        let text = format!("channel = \"webhook\"\nurl = \"{sound}\"\nallow = [\"crm.internal\", \"10.0.0.1\", \"::1\"]\n");
        assert_eq!(found(&text), [], "{sound}");
    }
}

#[test]
fn bodies_say_what_a_call_knows() {
    for (text, line, words) in [
        (format!("{HEAD}body = \"{{{{ bodi }}}}\"\n"), 3, "nothing is called `bodi` here; did you mean `body`?"),
        (format!("{HEAD}body = \"{{{{ subject }}}}\"\n"), 3, "nothing is called `subject` here; there are: message_id"),
        (format!("{HEAD}body = \"\"\"\n{{\n  \"a\": {{{{ body }}\n}}\n\"\"\"\n"), 5, "cannot be used"),
        (format!("{HEAD}body = \"\"\"\n{{\n{{% set x = 1 %}}\n}}\n\"\"\"\n"), 5, "`{% set %}` is not for the body of a call"),
        (format!("{HEAD}body = \"{{}}\"\nform = {{ a = \"b\" }}\n"), 4, "keep the one the API wants"),
        (format!("{HEAD}form = {{ a = \"{{{{ b }}}}\" }}\n"), 3, "nothing is called `b` here"),
        (LETTER.to_owned(), 1, "nothing says what the API is told"),
        (format!("{LETTER}body = '{{\"to\": {{{{ to }}}}, \"text\": {{{{ text }}}}}}'\n"), 3, "List-Unsubscribe would be lost"),
        (format!("{LETTER}body = '{{\"h\": {{{{ headers }}}}}}'\n"), 3, "does not say whom"),
        (format!("{LETTER}body = '{{\"m\": {{{{ mime }}}}}}'\n"), 3, "write it as `|base64`"),
        (format!("{LETTER}body = '{{\"m\": {{{{ mime|base64 }}}},}}'\n"), 3, "is not json"),
        (format!("{LETTER}body = '{{\"m\": {{{{ mime|base64 }}}}, \"s\": {{{{ subject.text }}}}}}'\n"), 3, "undefined"),
    ] {
        let (_, at, message) = first(&text);
        assert!(message.contains(words), "{text}\n{message}");
        assert_eq!(at, Some(line), "{text}\n{message}");
    }
    let quoted = format!("{LETTER}body = '{{\"m\": \"{{{{ mime|base64 }}}}\", \"s\": \"{{{{ subject }}}}, {{{{ text }}}}\"}}'\n");
    assert_eq!(found(&quoted), []);
}

#[test]
fn headers_are_not_for_secrets_or_for_what_is_ours() {
    for (rest, words) in [
        ("headers = { Authorization = \"x\" }\n", "`Authorization` is set by the program itself"),
        ("headers = { HOST = \"x\" }\n", "`HOST` is set by the program itself"),
        ("headers = { \"a b\" = \"x\" }\n", "is no name of a header"),
        ("headers = { X-A = \"a\\nb\" }\n", "holds what no header may hold"),
        ("headers = { X-A = \"{acount}\" }\n[values]\naccount = \"1\"\n", "did you mean `account`?"),
        ("auth = { header = { name = \"X:Y\", value = { env = \"X\" } } }\n", "is no name of a header"),
        ("auth = { basic = { user = \"{who}\", password = { env = \"X\" } } }\n", "nothing is called `who` here"),
        (
            "auth = { client_credentials = { token_url = \"http://login.example/\", client_id = { env = \"Y\" }, client_secret = { env = \"X\" } } }\n",
            "secrets are sent there",
        ),
        ("idempotency = { header = \"Key:\" }\n", "is no name of a header"),
    ] {
        let (_, line, message) = first(&format!("{HEAD}{rest}"));
        assert!(message.contains(words) && line == Some(3), "{rest}: {line:?} {message}");
    }
}

#[test]
fn rules_are_about_something_and_reject_nobody_for_a_wrong_key() {
    for (rule, words) in [
        ("means = \"closed\"", "holds for every answer"),
        ("at = \"/a\"\nheader = \"x\"\nmeans = \"closed\"", "more than one thing"),
        ("at = \"/a\"\nis = [1]\ncontains = [\"x\"]\nmeans = \"closed\"", "more than one thing"),
        ("status = [400]\nis = [1]\nmeans = \"closed\"", "or at none"),
        ("status = [42]\nmeans = \"closed\"", "no status"),
        ("at = \"a/b\"\nmeans = \"closed\"", "`at` is no JSON pointer"),
        ("header = \"a:b\"\nmeans = \"closed\"", "no name of a header"),
        ("at = \"/a\"\nis = []\nmeans = \"closed\"", "compares with nothing"),
        ("at = \"/a\"\ncontains = [\"\"]\nmeans = \"closed\"", "compares with nothing"),
        ("at = \"/a\"\nis = [[1]]\nmeans = \"closed\"", "or with a list"),
        ("at = \"/a\"\nmeans = \"dead_address\"", "no webhook is sent to an address"),
        ("status = [401]\nmeans = \"rejected\"", "would reject everybody for good"),
        ("status = [404]\nmeans = \"rejected\"", "would reject everybody for good"),
    ] {
        let sound = "[[answers]]\nstatus = [409]\nmeans = \"accepted\"\n";
        let (code, line, message) = first(&format!("{HEAD}{sound}[[answers]]\n{rule}\n"));
        assert!(message.contains(words), "{rule}: {message}");
        assert_eq!((code.as_str(), line), ("api_answers", Some(6)), "{rule}: {message}");
    }
    for rule in ["status = [404]\nat = \"/code\"\nis = [\"no_such_person\"]\nmeans = \"rejected\"", "status = [401]\nmeans = \"disabled\""]
    {
        assert_eq!(found(&format!("{HEAD}[[answers]]\n{rule}\n")), [], "{rule}");
    }
}

#[test]
fn limits_are_within_reason_and_promises_can_be_kept() {
    for (rest, words) in [
        ("at_once = 0\n", "outside 1 to 64"),
        ("timeout = \"1h\"\n", "outside 1 to 600"),
        ("max_answer_kib = 4096\n", "outside 1 to 1024"),
        ("max_body_kib = 0\n", "outside 1 to"),
        ("rate = { requests = 0 }\n", "outside 1 to"),
        ("rate = { requests = 1, per = \"0s\" }\n", "outside 1 to"),
        ("id = \"MessageId\"\n", "`MessageId` is no JSON pointer"),
        ("says = [\"/a\", \"b\"]\n", "`b` is no JSON pointer"),
        ("idempotency = { honours = true }\n", "nothing in a repeated call says that it is one"),
        ("idempotency = { header = \"Key\", honours = true, window = \"30s\" }\n", "its window is over"),
    ] {
        let (_, line, message) = first(&format!("{HEAD}{rest}"));
        assert!(message.contains(words) && line == Some(3), "{rest}: {line:?} {message}");
    }
    for rest in ["body = '{\"id\": {{ message_id }}}'\n", "method = \"put\"\n"] {
        let text = format!("{HEAD}{rest}idempotency = {{ honours = true }}\n");
        let text = if rest.starts_with("method") { text.replace("/hook", "/hook/{id}") } else { text };
        assert_eq!(found(&text), [], "{rest}");
    }
}

#[test]
fn the_deployments_values_go_before_the_files_and_are_known_to_it() {
    let text = "channel = \"webhook\"\nurl = \"https://{region}.example/\"\n[values]\nregion = \"eu\"\n";
    let read = |given: &[(&str, &str)]| Api::read(text, Path::new("x.toml"), &values(given));
    assert_eq!(read(&[("region", "us")]).unwrap().description.values["region"], "us");
    let found = read(&[("regoin", "us")]).unwrap_err();
    assert_eq!(found[0].file.as_deref(), Some(Path::new("config/perennial.toml")), "there it is to be corrected");
    assert_eq!(found[0].hint.as_deref(), Some("did you mean `region`?"));
}

#[test]
fn every_setting_is_documented() {
    let schema = serde_json::to_value(schemars::schema_for!(Description)).unwrap();
    let undocumented = |at: &str, properties: &serde_json::Value| -> Vec<String> {
        let all = properties.as_object().into_iter().flatten();
        all.filter(|(_, property)| property.get("description").is_none()).map(|(name, _)| format!("{at}.{name}")).collect()
    };
    let mut found = undocumented("", &schema["properties"]);
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        found.extend(undocumented(name, &definition["properties"]));
    }
    assert_eq!(found, [""; 0]);
}
