//! Approved letters reach a real SMTP server, and a mail parser that is not ours reads them back.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{Folder, sink::Sink, skip};

const READ_BACK: &str = r#"
import email, email.policy, json, sys
out = []
for path in sys.argv[1:]:
    raw = open(path, "rb").read()
    # smtp-sink writes the envelope as X- headers and LF line ends.
    message = email.message_from_bytes(raw, policy=email.policy.default)
    parts = {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}
    out.append({
        "id": str(message["Message-ID"]), "plan": str(message["X-Perennial-Plan"]), "subject": str(message["Subject"]),
        "to": [[a.display_name, a.addr_spec] for a in message["To"].addresses], "reply_to": str(message["Reply-To"]),
        "unsubscribe": str(message["List-Unsubscribe"]), "one_click": str(message["List-Unsubscribe-Post"]), "date": str(message["Date"]),
        "text": parts.get("text/plain", ""), "html": parts.get("text/html", ""),
        "defects": [str(d) for p in message.walk() for d in p.defects],
        "longest": max(len(line) for line in raw.split(b"\n")),
    })
json.dump(out, sys.stdout)
"#;

#[test]
fn a_parser_that_is_not_ours_reads_every_letter_back() {
    let Some(sink) = Sink::start(&[]) else { return skip("smtp-sink is not installed (Debian package postfix)") };
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("python3 is not installed");
    }
    let mut folder = Folder::practice(5000);
    folder.json(&["run", "nightly"]);
    folder.send_to(&sink);
    let mut planned = 0;
    for campaign in ["win-back", "check-in", "first-thanks", "loyal-thanks", "make-it-right"] {
        let plan = folder.plan_of(campaign)["plan"].as_str().unwrap().to_owned();
        folder.run(&["approve", &plan, "--by", "Mara"]).ended(0);
        let account = folder.json(&["deliver", &plan]);
        assert_eq!(account["accepted"], account["planned"], "{account}");
        planned += usize::try_from(account["planned"].as_u64().unwrap()).unwrap();
    }
    let files = sink.files();
    assert_eq!(files.len(), planned);
    let output = Command::new("python3").arg("-c").arg(READ_BACK).args(&files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let letters: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();

    let people = folder.json(&["query", "select lower(email) as email, first_name, last_name from customers where email is not null"]);
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for person in people.as_array().unwrap() {
        let first = person["first_name"].as_str().unwrap_or_default().to_owned();
        names.entry(person["email"].as_str().unwrap().to_owned()).or_default().insert(first);
    }
    let ids: BTreeSet<&str> = letters.iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), letters.len(), "every Message-ID once");
    let mut beyond_ascii = 0;
    for letter in &letters {
        assert_eq!(letter["defects"], serde_json::json!([]), "{letter:#}");
        assert!(letter["longest"].as_u64().unwrap() <= 998, "{letter:#}");
        for header in ["subject", "reply_to", "date", "plan"] {
            assert!(!matches!(letter[header].as_str(), None | Some("" | "None")), "{header}: {letter:#}");
        }
        let (text, html) = (letter["text"].as_str().unwrap(), letter["html"].as_str().unwrap());
        assert!(text.contains("PRACTICE DATA") && html.contains("PRACTICE DATA"), "{letter:#}");
        let address = letter["to"][0][1].as_str().unwrap().to_lowercase();
        let first_names = &names[&address];
        // Somebody may be called like this; the template must not be the one who says it.
        let called = first_names.iter().any(|name| name.contains("{{") || name.contains("None"));
        for leftover in ["{{", "{%", "None", "undefined"] {
            assert!(called || (!text.contains(leftover) && !html.contains(leftover)), "{leftover}: {letter:#}");
        }
        // `Null` is what systems write where nobody gave a name; such a letter begins without one.
        let greeted = first_names.iter().any(|name| name.is_empty() || name == "Null" || text.contains(name.trim()));
        assert!(greeted, "{address} is greeted by none of {first_names:?}: {text}");
        beyond_ascii += usize::from(first_names.iter().any(|name| !name.is_ascii() && text.contains(name.as_str())));
        assert_eq!(letter["one_click"], "List-Unsubscribe=One-Click");
        let link = letter["unsubscribe"].as_str().unwrap().split(['<', '>']).nth(1).unwrap();
        assert!(link.contains("/u/") && text.contains(link) && html.contains(link), "{letter:#}");
    }
    assert!(beyond_ascii > 10, "names in other scripts came through: {beyond_ascii}");
}
