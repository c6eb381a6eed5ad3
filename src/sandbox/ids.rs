//! How the systems number their records. Each has its own numbers; all have a fixed length, so that their order as text is the order
//! of the numbers they are made of.

/// The shop's customer number: `100049213`.
pub(super) fn customer(who: u32) -> String {
    format!("1{who:08}")
}

/// The CRM's number, which has nothing to do with the shop's; no two people share one, because the factor is odd.
pub(super) fn contact_number(who: u32) -> u32 {
    who.wrapping_mul(0x9e37_79b1).rotate_left(7) ^ 0x5bd1_e995
}

/// The CRM's contact id: `ct_1f3a9c02`.
pub(super) fn contact(who: u32) -> String {
    format!("ct_{:08x}", contact_number(who))
}

/// The shop's order number.
pub(super) fn order(who: u32, number: u16) -> String {
    format!("5{who:08}{number:03}")
}

/// The help desk's ticket number.
pub(super) fn ticket(who: u32, nth: u16) -> String {
    format!("7{who:08}{nth:03}")
}

/// The help desk's rating number.
pub(super) fn rating(who: u32, number: u16) -> String {
    format!("8{who:08}{number:03}")
}
