//! The remote side, each with its API's own rules: its fields and no others, its limits, its errors.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::sigv4,
    now,
    server::{Seen, answer},
};
use crate::secret::Secret;

fn said(status: u16, body: &Value) -> Vec<u8> {
    answer(status, &[("Content-Type", "application/json")], &body.to_string())
}

/// A body with these fields and no others.
fn strictly<'a, T: Deserialize<'a>>(seen: &'a Seen) -> Result<T, String> {
    serde_json::from_slice(&seen.body).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct SendEmail {
    from_email_address: String,
    destination: Destination,
    content: SesContent,
    configuration_set_name: Option<String>,
    email_tags: Vec<Pair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Destination {
    to_addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct SesContent {
    raw: SesRaw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct SesRaw {
    data: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Pair {
    name: String,
    value: String,
}

/// SES v2: `POST /v2/email/outbound-emails`, its error's name in a header.
pub(super) fn ses(seen: &Seen) -> Vec<u8> {
    let error = |status, kind: &str, message: &str| {
        answer(status, &[("x-amzn-ErrorType", &format!("{kind}:http://internal.amazon.com/"))], &json!({"message": message}).to_string())
    };
    let key = sigv4::Key {
        region: "eu-west-1".into(),
        service: "ses".into(),
        access_key_id: Secret::new("AKIDEXAMPLE"),
        secret_access_key: Secret::new("wJalrXUtnFEMI"),
        session_token: None,
    };
    // What AWS does: sign what came in, and compare.
    let call = sigv4::Call {
        method: &seen.method,
        host: seen.header("host").unwrap(),
        path: &seen.path,
        query: "",
        content_type: seen.header("content-type"),
        body: &seen.body,
    };
    let expected = key.sign(&call, now()).pop().unwrap().1;
    if seen.header("authorization") != Some(&expected) || seen.header("x-amz-date") != Some("20261122T070000Z") {
        return error(403, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided.");
    }
    if (seen.method.as_str(), seen.path.as_str()) != ("POST", "/v2/email/outbound-emails") {
        return error(404, "UnknownOperationException", "");
    }
    let mail: SendEmail = match strictly(seen) {
        Ok(mail) => mail,
        Err(_) => return error(400, "BadRequestException", "The input you provided is invalid."),
    };
    let mime = STANDARD.decode(mail.content.raw.data).ok().and_then(|mime| String::from_utf8(mime).ok()).unwrap_or_default();
    let plain = |text: &str| !text.is_empty() && text.len() <= 256 && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c));
    if !mime.contains("\r\n\r\n") || !mail.email_tags.iter().all(|tag| plain(&tag.name) && plain(&tag.value)) {
        return error(400, "BadRequestException", "Invalid MIME or tag.");
    }
    if mail.configuration_set_name.as_deref().is_some_and(|name| name != "events") {
        return error(404, "NotFoundException", "Configuration set does not exist.");
    }
    match (mail.from_email_address.as_str(), mail.destination.to_addresses.as_slice()) {
        ("paused@fernwood.example", _) => error(400, "SendingPausedException", "Sending is paused."),
        ("hello@fernwood.example", [to]) => match to.split('@').next() {
            Some("stranger") => error(
                400,
                "MessageRejected",
                "Email address is not verified. The following identities failed the check in region EU-WEST-1: stranger@example.org",
            ),
            Some("virus") => error(400, "MessageRejected", "The message contains invalid content."),
            Some("fast") => error(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
            Some("fault") => error(500, "InternalFailure", ""),
            _ => said(200, &json!({"MessageId": "0102019abc-1234-000000"})),
        },
        _ => error(400, "MailFromDomainNotVerifiedException", ""),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct PostmarkMail {
    from: String,
    to: String,
    reply_to: String,
    subject: String,
    html_body: String,
    text_body: String,
    message_stream: String,
    tag: String,
    track_opens: bool,
    track_links: String,
    metadata: std::collections::BTreeMap<String, String>,
    headers: Vec<Pair>,
}

/// Postmark: `POST /email`.
pub(super) fn postmark(seen: &Seen) -> Vec<u8> {
    let error = |status, code: u32, message: &str| said(status, &json!({"ErrorCode": code, "Message": message}));
    if seen.header("x-postmark-server-token") != Some("pm-token") || seen.header("accept") != Some("application/json") {
        return error(401, 10, "No Account or Server API tokens were supplied in the HTTP headers.");
    }
    let mail: PostmarkMail = match strictly(seen) {
        Ok(mail) => mail,
        Err(words) => return error(422, 403, &words),
    };
    let metadata = mail.metadata.iter().all(|(name, value)| name.len() <= 20 && value.len() <= 80) && mail.metadata.len() <= 10;
    let words = [&mail.subject, &mail.html_body, &mail.text_body, &mail.reply_to].iter().all(|text| !text.is_empty());
    if !metadata || !words || mail.tag.len() > 1000 || mail.track_opens || mail.track_links != "None" {
        return error(422, 300, "Invalid email request");
    }
    if mail.from != "Fernwood <hello@fernwood.example>" {
        return error(422, 400, "The 'From' address you supplied is not a Sender Signature on your account.");
    }
    if mail.message_stream != "broadcast" {
        return error(422, 1235, "The stream provided does not exist on this server.");
    }
    // It sets these itself.
    if mail.headers.iter().any(|header| ["From", "To", "Subject", "Date", "Content-Type", "MIME-Version"].contains(&header.name.as_str())) {
        return error(422, 300, "Invalid header");
    }
    match mail.to.split('@').next() {
        Some("gone") => error(
            422,
            406,
            "You tried to send to a recipient that has been marked as inactive. Found inactive addresses: gone@example.org. Inactive \
             recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression. ",
        ),
        Some("odd") => error(200, 300, "Invalid 'To' address."),
        Some("fast") => error(429, 429, "Rate limit exceeded"),
        Some("fault") => error(500, 0, "Internal server error"),
        _ => said(
            200,
            &json!({"To": mail.to, "SubmittedAt": "2026-11-22T07:00:01Z", "MessageID": "0a129aee-e1cd", "ErrorCode": 0, "Message": "OK"}),
        ),
    }
}

/// Slack: `POST /api/chat.postMessage`; 200 whatever is wrong.
pub(super) fn slack(seen: &Seen) -> Vec<u8> {
    let error = |error: &str| said(200, &json!({"ok": false, "error": error}));
    if seen.header("authorization") != Some("Bearer xoxb-1") {
        return error("invalid_auth");
    }
    if !seen.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return error("invalid_post_type");
    }
    let note = seen.json();
    let blocks = note["blocks"].as_array().cloned().unwrap_or_default();
    let length = |pointer: &str, block: &Value| block.pointer(pointer).and_then(Value::as_str).map_or(0, |text| text.chars().count());
    let sound = |block: &Value| match block["type"].as_str() {
        Some("header") => block["text"]["type"] == "plain_text" && (1..=150).contains(&length("/text/text", block)),
        Some("section") => {
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            let text = (1..=3000).contains(&length("/text/text", block));
            (text || (1..=10).contains(&fields.len())) && fields.iter().all(|field| (1..=2000).contains(&length("/text", field)))
        }
        Some("context") => block["elements"].as_array().is_some_and(|elements| (1..=10).contains(&elements.len())),
        _ => false,
    };
    if note["text"].as_str().is_some_and(|text| text.contains("<!channel>")) {
        return error("the whole channel was called");
    }
    match note["channel"].as_str() {
        Some("C1") if blocks.len() > 50 || !blocks.iter().all(sound) => error("invalid_blocks"),
        Some("C1") if !note["metadata"]["event_type"].is_string() => error("invalid_metadata_format"),
        Some("C1") => said(200, &json!({"ok": true, "channel": "C1", "ts": "1795330800.000100", "message": {"text": note["text"]}})),
        Some("C2") => answer(429, &[("Retry-After", "30")], "{\"ok\": false, \"error\": \"ratelimited\"}"),
        Some("C3") => error("internal_error"),
        _ => error("channel_not_found"),
    }
}

/// Slack: `POST /services/T…/B…/…`; words, and no JSON.
pub(super) fn slack_hook(seen: &Seen) -> Vec<u8> {
    let note = seen.json();
    let known = ["header", "section", "context"];
    match note["blocks"].as_array() {
        _ if seen.path != "/services/T0/B0/xyz" => answer(404, &[], "no_service"),
        _ if !note["text"].is_string() => answer(400, &[], "no_text"),
        Some(blocks) if blocks.iter().all(|block| block["type"].as_str().is_some_and(|kind| known.contains(&kind))) => {
            answer(200, &[], "ok")
        }
        _ => answer(400, &[], "invalid_blocks"),
    }
}

/// HubSpot: `POST /crm/objects/2026-03/tasks`.
pub(super) fn hubspot(seen: &Seen) -> Vec<u8> {
    let error =
        |status, category: &str| said(status, &json!({"status": "error", "message": "words", "category": category, "correlationId": "c"}));
    if seen.header("authorization") != Some("Bearer pat-1") {
        return error(401, "INVALID_AUTHENTICATION");
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Task {
        properties: std::collections::BTreeMap<String, String>,
        associations: Vec<Association>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Association {
        to: To,
        types: Vec<Kind>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct To {
        id: String,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Kind {
        association_category: String,
        association_type_id: u32,
    }
    let task: Task = match strictly(seen) {
        Ok(task) => task,
        Err(_) => return error(400, "VALIDATION_ERROR"),
    };
    let is = |name: &str, words: &[&str]| task.properties.get(name).is_some_and(|value| words.contains(&value.as_str()));
    let due = task.properties.get("hs_timestamp").is_some_and(|at| chrono::DateTime::parse_from_rfc3339(at).is_ok());
    let known = is("hs_task_type", &["EMAIL", "CALL", "TODO"])
        && is("hs_task_status", &["COMPLETED", "NOT_STARTED"])
        && is("hs_task_priority", &["LOW", "MEDIUM", "HIGH"]);
    let link = |link: &Association| {
        !link.to.id.is_empty()
            && link.types.iter().all(|kind| kind.association_category == "HUBSPOT_DEFINED" && kind.association_type_id == 204)
    };
    match seen.path.as_str() {
        "/crm/objects/2026-03/tasks" if due && known && task.associations.iter().all(link) => {
            said(201, &json!({"id": "35781", "properties": task.properties, "archived": false}))
        }
        "/crm/objects/2026-03/tasks" => error(400, "VALIDATION_ERROR"),
        _ => error(404, "OBJECT_NOT_FOUND"),
    }
}

/// Salesforce: `POST /services/data/v62.0/sobjects/Task`; mistakes come as a list.
pub(super) fn salesforce(seen: &Seen) -> Vec<u8> {
    let error = |status, code: &str| said(status, &json!([{"message": "words", "errorCode": code, "fields": []}]));
    if seen.header("authorization") != Some("Bearer sf-token") {
        return error(401, "INVALID_SESSION_ID");
    }
    let task = seen.json();
    let fields: Vec<&String> = task.as_object().unwrap().keys().collect();
    let known = ["Subject", "Description", "WhoId", "ActivityDate", "Status", "Priority", "TaskSubtype"];
    let text = |name: &str, longest: usize| task[name].as_str().is_some_and(|text| text.chars().count() <= longest);
    if fields.iter().any(|name| !known.contains(&name.as_str())) {
        return error(400, "INVALID_FIELD");
    }
    match task["WhoId"].as_str() {
        Some("spent") => error(403, "REQUEST_LIMIT_EXCEEDED"),
        Some("locked") => error(400, "UNABLE_TO_LOCK_ROW"),
        Some("nobody") => error(400, "MALFORMED_ID"),
        _ if !text("Subject", 255) || !text("Description", 32_000) => error(400, "STRING_TOO_LONG"),
        _ if task["ActivityDate"].as_str().is_none_or(|day| day.parse::<chrono::NaiveDate>().is_err()) => error(400, "JSON_PARSER_ERROR"),
        _ => said(201, &json!({"id": "00T5e000008VJqEAM", "success": true, "errors": []})),
    }
}

/// Braze: `POST /campaigns/trigger/send`.
pub(super) fn braze(seen: &Seen) -> Vec<u8> {
    if seen.header("authorization") != Some("Bearer braze-key") {
        return said(401, &json!({"message": "Invalid API key: braze"}));
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Send {
        campaign_id: String,
        recipients: Vec<Recipient>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Recipient {
        external_user_id: String,
        send_to_existing_only: bool,
        trigger_properties: serde_json::Map<String, Value>,
    }
    let send: Send = match strictly(seen) {
        Ok(send) => send,
        Err(words) => return said(400, &json!({"message": words})),
    };
    let [recipient] = send.recipients.as_slice() else { return said(400, &json!({"message": "no recipients"})) };
    match (send.campaign_id.as_str(), recipient.external_user_id.as_str()) {
        ("c-1", "crm:odd") => said(201, &json!({"dispatch_id": "d-2", "message": "success", "errors": ["The external_user_id is odd"]})),
        ("c-1", _) if recipient.send_to_existing_only && !recipient.trigger_properties.is_empty() => {
            said(201, &json!({"dispatch_id": "d-1", "message": "success"}))
        }
        _ => said(400, &json!({"message": "Campaign does not exist"})),
    }
}

/// Twilio: `POST /2010-04-01/Accounts/{sid}/Messages.json`, a form in, JSON out.
pub(super) fn twilio(seen: &Seen) -> Vec<u8> {
    let error = |status: u16, code: u32, message: &str| {
        said(status, &json!({"code": code, "message": message, "more_info": "https://www.twilio.com/docs/errors", "status": status}))
    };
    // SK1:twilio-secret
    if seen.header("authorization") != Some("Basic U0sxOnR3aWxpby1zZWNyZXQ=") {
        return error(401, 20003, "Authenticate");
    }
    if seen.path != "/2010-04-01/Accounts/AC1/Messages.json" || seen.header("content-type") != Some("application/x-www-form-urlencoded") {
        return error(404, 20404, "The requested resource was not found");
    }
    let form: std::collections::BTreeMap<String, String> = url::form_urlencoded::parse(&seen.body).into_owned().collect();
    let field = |name: &str| form.get(name).map(String::as_str);
    let number = |text: &str| text.strip_prefix('+').is_some_and(|digits| digits.len() >= 8 && digits.bytes().all(|c| c.is_ascii_digit()));
    let bare = |text: Option<&str>| text.map(|text| text.trim_start_matches("whatsapp:").to_owned()).unwrap_or_default();
    if field("From").is_none() && field("MessagingServiceSid").is_none() {
        return error(400, 21603, "A 'From' phone number is required.");
    }
    let to = bare(field("To"));
    match to.as_str() {
        "+15005550010" => return error(400, 21610, "Attempt to send to unsubscribed recipient +15005550010"),
        "+15005550029" => return error(429, 20429, "Too many requests"),
        "+15005550009" => return said(201, &json!({"sid": "SM9", "status": "failed", "error_code": 30003})),
        _ if !number(&to) => return error(400, 21211, &format!("Invalid 'To' Phone Number: {to}")),
        _ => {}
    }
    let content = match (field("Body"), field("ContentSid")) {
        (Some(body), None) => body.chars().count() <= 1600,
        (None, Some(sid)) => {
            let variables: Option<std::collections::BTreeMap<String, String>> =
                field("ContentVariables").and_then(|text| serde_json::from_str(text).ok());
            sid.starts_with("HX") && variables.is_some_and(|all| all.values().all(|text| !text.is_empty() && text.chars().count() <= 255))
        }
        _ => false,
    };
    if !content {
        return error(400, 21656, "The ContentVariables Parameter is invalid.");
    }
    said(
        201,
        &json!({"sid": "SM87105da94bff44b999e4e6eb90d8eb6a", "status": "queued", "error_code": null, "to": field("To"), "body": field("Body")}),
    )
}
