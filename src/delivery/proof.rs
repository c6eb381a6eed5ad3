//! One mail to a colleague, by the way real messages go. It is no promise to a customer: the ledger does not hear of it.

use chrono::{DateTime, Utc};

use super::{
    deliver::{Batch, Context, way},
    error::{DeliveryError, TransportError},
    transport::{Letter, Outcome, Parcel, Way},
};
use crate::{
    diagnosis::Diagnosis,
    ledger::{CustomerId, MessageId, Named},
    message::{Channel, Kind, Message, mailable},
    secret::Keys,
};

/// The header that tells a proof from a customer's mail.
const MARK: &[u8] = b"X-Perennial-Test: yes\r\n";

/// A message id for a proof, which no customer's message can have.
#[must_use]
pub fn proof_id(keys: &Keys, to: &str, now: DateTime<Utc>, domain: &str) -> MessageId {
    let mac = keys.mac("proof", &[to.as_bytes(), &now.timestamp_micros().to_be_bytes()]);
    MessageId::new(format!("test-{}@{domain}", hex::encode(&mac[..16])))
}

/// Sends a mail to a colleague, marked `X-Perennial-Test`. `only_to` and the practice keys' limits hold. Says where it went.
///
/// # Errors
/// Where `to` may not be written to, the settings are wrong, or the mail was not accepted.
pub async fn send_proof(
    context: &Context,
    from: &str,
    to: &str,
    message_id: &MessageId,
    message: &Message,
) -> Result<String, DeliveryError> {
    let wrong = |code: &str, message: String, hint: &str| DeliveryError::Settings(Box::new(Diagnosis::new(code, message).hint(hint)));
    let Message::Email { subject, html, text, bytes, .. } = message else {
        return Err(wrong("proof", "a webhook call cannot be sent to a colleague".to_owned(), "`perennial preview` shows its body"));
    };
    let batch = Batch { kind: Kind::Internal, channel: Channel::Email, receiver: None, from, campaign: "send-test", plan: "send-test" };
    let way = way(context, &batch)?;
    if !context.settings.allowed()?.allows(to) {
        return Err(wrong(
            "only_to",
            "`only_to` in `[delivery]` does not allow that address".to_owned(),
            "use an address it allows, or widen it",
        ));
    }
    let body = marked(bytes, message_id);
    let message = Named { customer_id: CustomerId::new("test"), message_id: message_id.clone() };
    let letter = Letter { subject: subject.clone(), html: html.clone(), text: text.clone() };
    let parcel = Parcel { message, to: mailable(to).unwrap_or_else(|| to.to_owned()), body, letter: Some(Box::new(letter)) };
    match way {
        Way::Outbox(outbox) => {
            let file = outbox.deliver(&parcel).map_err(DeliveryError::Transport)?;
            Ok(file.map_or_else(String::new, |file| file.display().to_string()))
        }
        Way::Smtp(relay) => {
            let host = relay.host().to_owned();
            let outcome = relay.send_alone(&parcel).await.map_err(DeliveryError::Transport)?;
            arrived(host, outcome, |host, reason| TransportError::Refused { host, reason }).map_err(DeliveryError::Transport)
        }
        Way::Api(courier) => {
            let outcome = courier.send_alone(&parcel).await.map_err(DeliveryError::Transport)?;
            arrived(courier.host(), outcome, |host, reason| TransportError::Closed { host, reason }).map_err(DeliveryError::Transport)
        }
        Way::Http(_) => Err(DeliveryError::Transport(TransportError::Broken)),
    }
}

/// A customer's mail as a colleague gets it: marked, and under an id of its own, so that whatever comes back about it is not about the customer.
fn marked(bytes: &[u8], id: &MessageId) -> Vec<u8> {
    const NAME: &[u8] = b"Message-ID:";
    let mut marked = MARK.to_vec();
    let head = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |end| end + 2);
    let mut rest = &bytes[..head];
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let (line, after) = rest.split_at(end + 2);
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            marked.extend_from_slice(format!("Message-ID: <{id}>\r\n").as_bytes());
        } else {
            marked.extend_from_slice(line);
        }
        rest = after;
    }
    marked.extend_from_slice(rest);
    marked.extend_from_slice(&bytes[head..]);
    marked
}

/// Where a mail went that was accepted; else why it was not, `refused` where that was for good.
fn arrived(host: String, outcome: Outcome, refused: fn(String, String) -> TransportError) -> Result<String, TransportError> {
    match outcome {
        Outcome::Accepted(_) => Ok(host),
        Outcome::Rejected { reply, reason, .. } => Err(refused(host, reply.unwrap_or_else(|| reason.to_owned()))),
        Outcome::Deferred { reply, .. } => Err(TransportError::Unreachable { host, reason: reply.unwrap_or_default() }),
        Outcome::Unknown(reason) => Err(TransportError::Unreachable { host, reason }),
        Outcome::NotSent => Err(TransportError::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_goes_by_an_id_of_its_own() {
        let mail = b"Message-ID: <a@x>\r\nX-Perennial-Plan: p\r\nSubject: hello\r\n\r\nMessage-ID: <a@x>\r\n";
        let proof = String::from_utf8(marked(mail, &MessageId::new("test-1@x"))).unwrap();
        assert_eq!(
            proof,
            "X-Perennial-Test: yes\r\nMessage-ID: <test-1@x>\r\nX-Perennial-Plan: p\r\nSubject: hello\r\n\r\nMessage-ID: <a@x>\r\n"
        );
    }
}
