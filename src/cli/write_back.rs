//! `perennial write-back`

use std::fmt::Write;

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    job::{self, WrittenBack},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this source
    source: Option<String>,
    /// Also tell again what may have been told already
    #[arg(long)]
    again: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    super::serve::on_signal(&house);
    let wrote = job::write_back(&house, args.source.as_deref(), args.again).await?;
    let mut text = String::new();
    for section in &wrote.sections {
        let _ = writeln!(text, "{}", sentence(section));
    }
    if wrote.sections.is_empty() && wrote.failures.is_empty() {
        text.push_str("No source asks to be told anything.");
    }
    let json = serde_json::json!({ "written_back": wrote.sections });
    match wrote.failures.is_empty() {
        true => output::print(global, &json, text),
        false => output::print_with(global, &json, text, &wrote.failures),
    }
    let partly = if wrote.sections.iter().any(|section| section.partly) { Exit::Partly } else { Exit::Done };
    Ok(Exit::of(&wrote.failures).unwrap_or(partly))
}

/// What a section told, in words.
pub(super) fn sentence(section: &WrittenBack) -> String {
    let mut words = format!("{}.{}: {} told", section.source, section.section, section.told);
    for (count, what) in
        [(section.not_there, "not known there"), (section.waiting, "waiting"), (section.unknown, "cannot know; not told again")]
    {
        if count > 0 {
            let _ = write!(words, ", {count} {what}");
        }
    }
    words
}
