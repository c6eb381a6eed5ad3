//! `perennial preview` and `send-test`

use super::{global::Global, output};
use crate::{
    campaign::{self, PreviewRequest},
    delivery,
    diagnosis::{Exit, Failure},
    job::{House, Moment, Step},
    ledger::CustomerId,
    message::Message,
};

#[derive(Debug, clap::Args)]
pub(super) struct PreviewArgs {
    /// The campaign
    campaign: String,
    /// The person
    #[arg(long, value_name = "ID")]
    customer: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct SendTestArgs {
    /// The campaign
    campaign: String,
    /// The person whose letter it is
    #[arg(long, value_name = "ID")]
    customer: String,
    /// The colleague who gets it
    #[arg(long, value_name = "ADDRESS")]
    to: String,
}

async fn compose(house: &House, name: &str, customer: &str, to: Option<&str>) -> Result<Message, Failure> {
    let campaign = house.campaign(name)?;
    let deployment = house.project.deployment();
    let moment = Moment::of(&house.project, None, Step::Plan, None)?;
    let request = PreviewRequest {
        root: house.project.root(),
        lake: &house.lake,
        versions: &house.published().await?,
        keys: house.project.keys(),
        brand: &deployment.brand,
        as_of: moment.as_of,
        practice: house.practice,
        public_url: deployment.delivery.public_url.as_deref().unwrap_or_default(),
        to,
    };
    Ok(campaign::preview(request, campaign, &CustomerId::new(customer)).await?)
}

pub(super) async fn preview(global: &Global, args: PreviewArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    match compose(&house, &args.campaign, &args.customer, None).await? {
        Message::Email { subject, preview, html, text, .. } => {
            let json = serde_json::json!({ "subject": subject, "preview": preview, "html": html, "text": text });
            output::print(global, &json, format!("Subject: {subject}\nPreview: {preview}\n\n{text}"));
        }
        Message::Webhook { body } => {
            let json: serde_json::Value = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
            let text = serde_json::to_string_pretty(&json).unwrap_or_default();
            output::print(global, &json, text);
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn send_test(global: &Global, args: SendTestArgs) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let message = compose(&house, &args.campaign, &args.customer, Some(&args.to)).await?;
    let brand = &house.project.deployment().brand;
    let id = delivery::proof_id(house.project.keys(), &args.to, house.project.clock().now(), &brand.domain);
    let sent = delivery::send_proof(&house.post(), &brand.from, &args.to, &id, &message).await?;
    output::print(
        global,
        &serde_json::json!({ "sent": true, "where": sent }),
        format!("Sent to {sent}. It counts for nothing: the person has not been written to."),
    );
    Ok(Exit::Done)
}
