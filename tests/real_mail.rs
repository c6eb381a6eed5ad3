//! Letters through mail servers as they run in the world: each arrives once, and what a server says of a letter is what the account says.

use crate::support::{
    approved::{Approved, Delivered, Line, let_time_pass},
    exim::{self, Exim},
    machine::say,
    mailbox::Letter,
    postfix::{self, Setup},
    skip,
};

/// Hello, an envelope and the wish to send, in breaths a server that offers no PIPELINING need not take.
const OUT_OF_TURN: [&str; 2] = ["EHLO impatient.test\r\n", "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"];
/// A letter's words before the server asked for them.
const TOO_SOON: [&str; 2] =
    ["EHLO impatient.test\r\n", "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"];

/// Every letter the account calls accepted lies in the mailbox once, was put there for the person it names, and nothing else lies there.
#[track_caller]
fn arrived_once(delivered: &Delivered, mailbox: &[Letter]) {
    let mut ids: Vec<&str> = mailbox.iter().map(|letter| letter.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, delivered.ids("accepted"), "the mailbox holds what was accepted, each once");
    assert_eq!(Some(ids.len() as u64), delivered.said["accepted"].as_u64(), "{}", delivered.said);
    for letter in mailbox {
        let put_for = letter.put_for.as_deref().unwrap_or_default();
        assert!(put_for.eq_ignore_ascii_case(&letter.to), "put into the mailbox of {put_for}: {}", letter.text);
    }
}

#[test]
fn postfix_puts_every_letter_into_its_mailbox_once_with_and_without_pipelining() {
    let Some(mut setup) = Setup::new() else { return skip(postfix::NEEDS) };
    let ports = [(setup.server(&[]), true), (setup.server(&["smtpd_discard_ehlo_keywords=pipelining"]), false)];
    let postfix = setup.start();
    let shop = Approved::practice();
    for (port, offered) in ports {
        assert_eq!(say(port, &["EHLO curious.test\r\n"]).contains("PIPELINING"), offered);
        assert!(say(port, &TOO_SOON).contains("554 5.5.0"), "this Postfix does not mind who speaks out of turn: {}", postfix.log());
        let mut folder = shop.copy();
        folder.send_to_port(port);
        let delivered = shop.deliver(&folder, &[]);
        assert_eq!((delivered.answer.code, delivered.count("accepted")), (0, shop.letters.len()), "{delivered:#?}");
        arrived_once(&delivered, &postfix.take("everyone"));

        // The same again sends nothing again.
        let again = shop.deliver(&folder, &[]);
        assert_eq!((again.answer.code, &again.lines), (0, &delivered.lines));
        assert_eq!(postfix.take("everyone").len(), 0);
    }
}

#[test]
fn what_postfix_refuses_puts_off_and_returns_is_told_apart() {
    let Some(mut setup) = Setup::new() else { return skip(postfix::NEEDS) };
    let shop = Approved::practice();
    let mut people = shop.letters.iter().map(|(id, address)| (id.as_str(), address.to_lowercase()));
    let ((gone_id, _), (full_id, full), (moved_id, moved)) = (people.next().unwrap(), people.next().unwrap(), people.next().unwrap());
    let returned = "bounces@fernwood.example";

    let mut mailboxes: Vec<(&str, &str)> = vec![(&full, "everyone/"), (&moved, "everyone/"), (returned, "returned/")];
    let rest: Vec<String> = people.map(|(_, address)| address).collect();
    mailboxes.extend(rest.iter().map(|address| (address.as_str(), "everyone/")));
    let mailboxes = setup.table("mailboxes", &mailboxes);
    let fullness = setup.table("full", &[(&full, "452 4.2.2 The mailbox is full")]);
    // The next server on the way of one letter knows nobody.
    let nobody = setup.table("nobody", &[("nobody@next.test", "nobody/")]);
    let next = setup.server(&["myhostname=next.test", &format!("virtual_mailbox_maps={nobody}")]);
    let ways = setup.table("ways", &[(&moved, &format!("smtp:[127.0.0.1]:{next}"))]);
    let port = setup.server(&[]);
    let setup = setup.set("virtual_mailbox_maps", &mailboxes).set("transport_maps", &ways);
    let postfix = setup.set("smtpd_recipient_restrictions", &format!("check_recipient_access {fullness}, permit")).start();

    let mut folder = shop.copy();
    folder.send_to_port(port);
    folder.set("PERENNIAL__DELIVERY__RETURNS__ADDRESS", returned);
    folder.set("PERENNIAL__DELIVERY__RETURNS__MAILBOXES__BOUNCES__MAILDIR", postfix.maildir("returned").to_str().unwrap());
    let delivered = shop.deliver(&folder, &[]);
    let expected = (3, shop.letters.len() - 2, 1, 1);
    let counts = (delivered.answer.code, delivered.count("accepted"), delivered.count("rejected"), delivered.count("deferred"));
    assert_eq!(counts, expected, "{delivered:#?}\n{}", postfix.log());

    // Nobody lives there: the address is never written to again.
    let Line { state, reason, reply } = &delivered.lines[gone_id];
    assert_eq!((state.as_str(), reason.as_deref()), ("rejected", Some("hard_bounce")), "{reply:?}");
    assert!(reply.as_deref().is_some_and(|reply| reply.starts_with("550 5.1.1") && !reply.contains('@')), "{reply:?}");
    let suppressed = folder.json(&["suppress", "list"]);
    assert_eq!(suppressed.as_array().map(Vec::len), Some(1), "{suppressed}");
    assert_eq!(suppressed[0]["reason"], "hard_bounce", "{suppressed}");

    // A full mailbox is not a dead one: it is tried again, later.
    let back = postfix.letters("returned");
    let Line { state, reply, .. } = &delivered.lines[full_id];
    assert_eq!(
        (state.as_str(), reply.as_deref()),
        ("deferred", Some("452 4.2.2 (address) Recipient address rejected: The mailbox is full"))
    );
    let asked = postfix.log().matches("NOQUEUE").count();
    assert_eq!(shop.deliver(&folder, &[]).answer.code, 0);
    assert_eq!(postfix.log().matches("NOQUEUE").count(), asked, "it is too early to ask again");
    std::fs::write(postfix.config("full"), "").unwrap();
    assert!(postfix.tell("reload"));
    let_time_pass(&folder);
    let later = shop.deliver(&folder, &[]);
    assert_eq!((later.answer.code, later.count("accepted"), later.count("deferred")), (0, shop.letters.len() - 1, 0), "{later:#?}");

    // What was accepted and could not be kept comes back to the return path, and says which letter it was.
    assert_eq!(back.len(), 1, "{}", postfix.log());
    let report = &back[0].text;
    for part in ["multipart/report", "message/delivery-status", "Status: 5.1.1", &format!("Message-ID: <{moved_id}>"), &moved] {
        assert!(report.contains(part), "{part}: {}", report.chars().take(4000).collect::<String>());
    }
    assert_eq!(later.lines[moved_id].state, "accepted");
    assert_eq!(postfix.letters("returned").len(), 1, "nothing else came back");
    let read = folder.json(&["returns"]);
    assert_eq!((&read["mails"], &read["noted"]["bounced"]), (&1.into(), &1.into()), "{read}");
    let suppressed = folder.json(&["suppress", "list"]);
    assert_eq!(suppressed.as_array().map(Vec::len), Some(2), "neither dead address is written to again: {suppressed}");
    let mut kept: Vec<String> = postfix.take("everyone").into_iter().map(|letter| letter.id).collect();
    kept.sort_unstable();
    let accepted: Vec<&str> = later.ids("accepted").into_iter().filter(|id| *id != moved_id).collect();
    assert_eq!(kept, accepted, "all others have their letter, once");
}

#[test]
fn exim_which_minds_who_speaks_out_of_turn_takes_every_letter_once() {
    let Some(exim) = Exim::start() else { return skip(exim::NEEDS) };
    for (port, offered) in [(exim.pipelining, true), (exim.plain, false)] {
        assert_eq!(say(port, &["EHLO curious.test\r\n"]).contains("PIPELINING"), offered);
        assert!(say(port, &TOO_SOON).contains("554 SMTP synchronization error"), "{}", exim.log());
    }
    assert!(say(exim.plain, &OUT_OF_TURN).contains("554 SMTP synchronization error"), "{}", exim.log());
    let complaints = || exim.log().matches("synchronization error").count();
    let before = complaints();

    let shop = Approved::practice();
    for port in [exim.pipelining, exim.plain] {
        let mut folder = shop.copy();
        folder.send_to_port(port);
        let delivered = shop.deliver(&folder, &[]);
        assert_eq!((delivered.answer.code, delivered.count("accepted")), (0, shop.letters.len()), "{delivered:#?}");
        arrived_once(&delivered, &exim.mailbox(port));
    }
    assert_eq!(complaints(), before, "{}", exim.log());
}
