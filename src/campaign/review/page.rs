//! Fills the page in.

use std::collections::BTreeMap;

use arrow::array::{Array, StringArray};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use minijinja::{Environment, Value, context};
use serde_json::{Value as Json, json};

use super::super::{
    Campaign, CampaignError, Kind, Reason,
    frozen::PlanRow,
    gates::Person,
    segment::{Segment, value},
};
use crate::{
    diagnosis::Diagnosis,
    ledger::PlanId,
    message::{Brand, Channel, Message, full_name},
};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How many people stand in the page for readers without scripts.
const WITHOUT_SCRIPT: usize = 100;
/// How many of those who came or went are named before the page only counts them.
const NAMED: usize = 60;

/// Everything the page shows.
pub(in crate::campaign) struct Page<'a> {
    pub(in crate::campaign) plan: &'a PlanId,
    pub(in crate::campaign) campaign: &'a Campaign,
    pub(in crate::campaign) brand: &'a Brand,
    pub(in crate::campaign) as_of: DateTime<Utc>,
    pub(in crate::campaign) replay: bool,
    pub(in crate::campaign) practice: bool,
    /// The campaign approves this plan itself.
    pub(in crate::campaign) approves_itself: bool,
    /// What the segment's file says of itself.
    pub(in crate::campaign) about: Option<String>,
    /// Everybody of the segment, in the order of `decisions`.
    pub(in crate::campaign) people: Vec<Shown>,
    pub(in crate::campaign) decisions: &'a [PlanRow],
    pub(in crate::campaign) changes: Option<Changes>,
    pub(in crate::campaign) samples: Vec<Sample>,
    pub(in crate::campaign) warnings: &'a [String],
}

/// A person as the page shows them.
pub(in crate::campaign) struct Shown {
    name: String,
    address: String,
}

/// Who came into the segment and who left it since the plan before: ids and names.
pub(in crate::campaign) struct Changes {
    pub(in crate::campaign) since: DateTime<Utc>,
    pub(in crate::campaign) entered: Vec<(String, String)>,
    pub(in crate::campaign) left: Vec<(String, String)>,
}

/// A real message of a real recipient.
pub(in crate::campaign) struct Sample {
    /// The person's place among the planned.
    pub(in crate::campaign) at: usize,
    /// What it is an example of.
    pub(in crate::campaign) why: String,
    pub(in crate::campaign) customer: String,
    pub(in crate::campaign) message: Message,
}

/// The names of a segment's people, in its order.
pub(in crate::campaign) fn names(segment: &Segment) -> Result<Vec<String>, CampaignError> {
    let (first, last, locale) = (segment.optional("first_name")?, segment.optional("last_name")?, segment.optional("locale")?);
    let name = |at| full_name(value(first.as_ref(), at), value(last.as_ref(), at), value(locale.as_ref(), at));
    Ok((0..segment.len()).map(|at| name(at).unwrap_or_default()).collect())
}

/// A segment's people as the page shows them, in its order.
pub(in crate::campaign) fn people(people: &[(Person, Option<Reason>)], segment: &Segment) -> Result<Vec<Shown>, CampaignError> {
    let written: Option<StringArray> = segment.optional("email")?;
    let names = names(segment)?;
    Ok(people
        .iter()
        .zip(names)
        .enumerate()
        .map(|(at, ((person, _), name))| {
            let address = person.address.as_deref().or(value(written.as_ref().filter(|all| all.len() > at), at));
            Shown { name, address: address.unwrap_or_default().to_owned() }
        })
        .collect())
}

/// The page as one HTML file.
pub(in crate::campaign) fn write(page: &Page<'_>) -> Result<String, CampaignError> {
    let mut env = Environment::new();
    let broken = |error: minijinja::Error| {
        CampaignError::failed(Diagnosis::new("review_page", format!("the review page cannot be written: {error:#}")).hint("report this"))
    };
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    env.add_template("page.html", HTML).map_err(broken)?;
    let filled = env.get_template("page.html").map_err(broken)?.render(facts(page)).map_err(broken)?;
    Ok(filled)
}

fn facts(page: &Page<'_>) -> Value {
    let Page { plan, campaign, brand, decisions, .. } = page;
    let settings = &campaign.settings;
    let kind = settings.kind;
    let planned = decisions.iter().filter(|row| row.is_planned()).count();
    let reasons = waterfall(decisions, kind);
    let zone: Tz = brand.timezone.parse().unwrap_or(Tz::UTC);
    let moment = |at: DateTime<Utc>| at.with_timezone(&zone).format("%A %-d %B %Y, %H:%M").to_string();
    let noun = noun(campaign, planned);
    let changes = page.changes.as_ref().map(|changes| {
        let people = |list: &[(String, String)]| {
            let named: Vec<Value> = list.iter().take(NAMED).map(|(id, name)| context! { id, name }).collect();
            context! { count => grouped(list.len()), more => list.len().saturating_sub(NAMED), named }
        };
        context! { since => moment(changes.since), entered => people(&changes.entered), left => people(&changes.left) }
    });
    context! {
        plan => plan.as_str(),
        campaign => campaign.name.as_str(),
        title => titled(&campaign.name),
        brand => context! { name => brand.name.as_str(), color => safe_color(&brand.color), ink => brand.ink() },
        practice => page.practice,
        replay => page.replay,
        approves_itself => page.approves_itself,
        moment => moment(page.as_of),
        zone => brand.timezone.as_str(),
        segment => settings.segment.as_str(),
        about => page.about.as_deref().map(|about| about.trim_end_matches('.')),
        kind => kind.as_str(),
        kind_words => kind_words(kind),
        expires => days(settings.expires),
        goal => settings.goal.map(|goal| format!("an order within {}", days(goal.within))),
        reply_to => settings.reply_to.as_str(),
        in_segment => grouped(decisions.len()),
        planned => grouped(planned),
        nobody => planned == 0,
        noun,
        email => settings.channel == Channel::Email,
        out => grouped(decisions.len() - planned),
        reasons => reasons.iter().map(bar(decisions.len())).collect::<Vec<_>>(),
        planned_width => share(planned, decisions.len()),
        changes,
        warnings => page.warnings.to_vec(),
        samples => page.samples.iter().map(|sample| letter(page, sample)).collect::<Vec<_>>(),
        rows => decisions.iter().zip(&page.people).take(WITHOUT_SCRIPT).map(|(row, person)| person_row(row, person, kind)).collect::<Vec<_>>(),
        total => decisions.len(),
        style => Value::from_safe_string(STYLE.to_owned()),
        script => Value::from_safe_string(SCRIPT.to_owned()),
        data => Value::from_safe_string(in_script(&data(page))),
    }
}

/// A step of the waterfall.
struct Step {
    key: String,
    words: String,
    count: usize,
    /// How many are left after it.
    left: usize,
}

fn waterfall(decisions: &[PlanRow], kind: Kind) -> Vec<Step> {
    let mut counts: BTreeMap<(usize, String), (String, usize)> = BTreeMap::new();
    for reason in decisions.iter().filter_map(|row| row.reason.as_ref()) {
        let words = match reason {
            Reason::Outranked(_) => "gets another message of ours first".to_owned(),
            other => other.in_words(kind),
        };
        counts.entry((reason.order(), reason.key())).or_insert((words, 0)).1 += 1;
    }
    let mut left = decisions.len();
    counts
        .into_iter()
        .map(|((_, key), (words, count))| {
            left -= count;
            Step { key, words, count, left }
        })
        .collect()
}

fn bar(all: usize) -> impl Fn(&Step) -> Value {
    move |step| {
        context! {
            key => step.key.as_str(),
            words => step.words.as_str(),
            count => grouped(step.count),
            offset => share(step.left, all),
            width => share(step.count, all),
        }
    }
}

/// A share of the whole as a CSS percentage.
fn share(part: usize, all: usize) -> String {
    format!("{:.2}", 100.0 * part as f64 / all.max(1) as f64)
}

fn person_row(row: &PlanRow, person: &Shown, kind: Kind) -> Value {
    context! {
        id => row.customer.as_str(),
        name => person.name.as_str(),
        address => person.address.as_str(),
        planned => row.is_planned(),
        words => words(row, kind),
    }
}

fn words(row: &PlanRow, kind: Kind) -> String {
    match &row.reason {
        Some(reason) => reason.in_words(kind),
        None => "gets the message".to_owned(),
    }
}

fn letter(page: &Page<'_>, sample: &Sample) -> Value {
    let person = page.decisions.iter().zip(&page.people).filter(|(row, _)| row.is_planned()).nth(sample.at);
    let (name, address) = person.map(|(_, person)| (person.name.as_str(), person.address.as_str())).unwrap_or_default();
    let common = context! { why => sample.why.as_str(), id => sample.customer.as_str(), name, address };
    let message = match &sample.message {
        Message::Email { subject, preview, html, text, .. } => context! { email => true, subject, preview, html, text },
        Message::Webhook { body } => {
            let pretty = serde_json::from_str::<Json>(body).and_then(|body| serde_json::to_string_pretty(&body));
            context! { email => false, body => pretty.unwrap_or_else(|_| body.clone()) }
        }
    };
    context! { ..common, ..message }
}

/// Everybody as compact rows for the script: id, name, address, place of the words, variant.
fn data(page: &Page<'_>) -> Json {
    let kind = page.campaign.settings.kind;
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut boxes = Vec::new();
    let mut rows = Vec::with_capacity(page.decisions.len());
    for (row, person) in page.decisions.iter().zip(&page.people) {
        let key = row.reason.as_ref().map(Reason::key).unwrap_or_default();
        let words = words(row, kind);
        let place = *places.entry((key.clone(), words.clone())).or_insert_with(|| {
            boxes.push(json!([key, words]));
            boxes.len() - 1
        });
        rows.push(json!([row.customer.as_str(), person.name, person.address, place, row.variant.as_deref().unwrap_or_default()]));
    }
    json!({ "boxes": boxes, "people": rows })
}

/// JSON that cannot end the script element it stands in, whatever the names in it are.
fn in_script(data: &Json) -> String {
    data.to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Marketing => "marketing: only people who agreed to it",
        Kind::Service => "service: about something they are owed; nothing is sold in it",
        Kind::Internal => "internal: to your own staff, not to the customer",
    }
}

/// `112 people`, `1 note`.
fn noun(campaign: &Campaign, planned: usize) -> &'static str {
    match (campaign.settings.kind, planned) {
        (Kind::Internal, 1) => "note",
        (Kind::Internal, _) => "notes",
        (_, 1) => "person",
        (_, _) => "people",
    }
}

/// `win-back` as a heading.
fn titled(name: &str) -> String {
    let words = name.replace(['-', '_'], " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A period in words, in days where it is whole days beyond two.
fn days(period: crate::config::Period) -> String {
    let (hours, minutes) = (period.delta().num_hours(), period.delta().num_minutes());
    match (hours, minutes) {
        (1, _) => "1 hour".to_owned(),
        (hours, _) if hours > 48 && hours % 24 == 0 => format!("{} days", hours / 24),
        (hours, minutes) if hours > 0 && hours * 60 == minutes => format!("{hours} hours"),
        (_, minutes) => format!("{minutes} minutes"),
    }
}

/// A count with thin spaces between the thousands.
pub(crate) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + 4);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A colour that can stand in a style attribute.
fn safe_color(color: &str) -> &str {
    let fits = color.strip_prefix('#').is_some_and(|digits| digits.len() == 6 && digits.chars().all(|c| c.is_ascii_hexdigit()));
    if fits { color } else { "#2f5d50" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_and_names_titled() {
        assert_eq!((grouped(7), grouped(1_234), grouped(1_234_567)), ("7".into(), "1\u{202f}234".into(), "1\u{202f}234\u{202f}567".into()));
        assert_eq!(titled("make-it-right"), "Make it right");
        assert_eq!(safe_color("red;}"), "#2f5d50");
    }

    #[test]
    fn data_cannot_leave_its_script_element() {
        let text = in_script(&json!(["</script><script>alert(1)</script><!--", "a&b\u{2028}"]));
        assert!(!text.contains(['<', '>', '&', '\u{2028}']));
        assert_eq!(serde_json::from_str::<Json>(&text).unwrap()[0], "</script><script>alert(1)</script><!--");
    }
}
