//! Which recipients' messages the page shows: one of each letter and variant, and the people whose names try a template.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::super::{
    CampaignError,
    segment::{texts, value},
};
use crate::message::full_name;

/// The most letters and variants shown beside the odd names.
const KINDS: usize = 6;

/// Places in the table of planned people, each with what it is an example of. `letters` says of each its step and variant.
pub(in crate::campaign) fn choose(seen: &RecordBatch, letters: &[(i64, Option<&str>)]) -> Result<Vec<(usize, String)>, CampaignError> {
    let column = |name: &str| match seen.column_by_name(name) {
        Some(_) => texts(seen, "the segment", name).map(Some),
        None => Ok(None),
    };
    let (first, last, locale) = (column("first_name")?, column("last_name")?, column("locale")?);
    let name = |at: usize| full_name(value(first.as_ref(), at), value(last.as_ref(), at), value(locale.as_ref(), at)).unwrap_or_default();

    let mut kinds: BTreeMap<(i64, Option<&str>), usize> = BTreeMap::new();
    for (at, letter) in letters.iter().enumerate() {
        kinds.entry(*letter).or_insert(at);
    }
    let several_steps = kinds.keys().any(|(step, _)| *step != 1);
    let mut chosen: Vec<(usize, String)> = Vec::new();
    for ((step, variant), at) in kinds.into_iter().take(KINDS) {
        let mut label = Vec::new();
        if several_steps {
            label.push(format!("letter {step}"));
        }
        label.extend(variant.map(|variant| format!("variant {variant}")));
        chosen.push((at, if label.is_empty() { "the first on the list".to_owned() } else { label.join(", ") }));
    }
    let people = || 0..seen.num_rows();
    let odd = [
        ("the longest name", people().max_by_key(|at| (name(*at).chars().count(), std::cmp::Reverse(*at)))),
        ("no first name", people().find(|at| value(first.as_ref(), *at).is_none_or(|first| first.trim().is_empty()))),
        ("a name written from right to left", people().find(|at| name(*at).chars().any(is_right_to_left))),
        (
            "a name in another script",
            people().find(|at| name(*at).chars().any(|c| c.is_alphabetic() && c > '\u{24f}' && !is_right_to_left(c))),
        ),
        ("a name with an apostrophe", people().find(|at| name(*at).contains(['\'', '’']))),
    ];
    for (why, at) in odd {
        let Some(at) = at else { continue };
        match chosen.iter_mut().find(|(taken, _)| *taken == at) {
            Some((_, label)) => *label = format!("{label}, {why}"),
            None => chosen.push((at, why.to_owned())),
        }
    }
    Ok(chosen)
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn letters_variants_and_odd_names_are_all_shown_once() {
        let first = StringArray::from(vec![Some("Ann"), Some("Bo"), None, Some("محمد"), Some("太郎"), Some("Seán-Maximilian")]);
        let last = StringArray::from(vec![Some("Lee"), Some("Diaz"), Some("Okafor"), Some("علي"), Some("山田"), Some("O’Shaughnessy")]);
        let seen =
            RecordBatch::try_from_iter([("first_name", Arc::new(first) as ArrayRef), ("last_name", Arc::new(last) as ArrayRef)]).unwrap();
        let letters =
            [(1, Some("plain")), (1, Some("offer")), (2, Some("plain")), (1, Some("plain")), (1, Some("plain")), (1, Some("plain"))];
        let chosen = choose(&seen, &letters).unwrap();
        let places: Vec<usize> = chosen.iter().map(|(at, _)| *at).collect();
        assert_eq!(places, [1, 0, 2, 5, 3, 4]);
        assert_eq!(chosen[2].1, "letter 2, variant plain, no first name");
        assert_eq!(chosen[3].1, "the longest name, a name with an apostrophe");
        assert!(choose(&seen.slice(0, 0), &[]).unwrap().is_empty());
    }
}
