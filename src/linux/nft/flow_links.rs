//! The links of our flowtable.

use anyhow::{Context, Result};
use netlink_packet_core::NLM_F_DUMP;

use super::flow::hook;
use super::table::read_table;
use super::transport::{
    DELETE_FLOWTABLE, GET_FLOWTABLE, INET, NEW_FLOWTABLE, Nft, consistent, loaded, string,
};
use crate::linux::root::Root;
use crate::linux::socket::{attributes, attrs, c_bytes, c_string, nla, nlas};
use crate::model::State;

const TABLE: &str = "nettune-flow";
const NAME: &str = "f";

/// Whether the link is one of our flowtable's.
pub fn read_link(root: &Root, link: &str) -> Result<State> {
    if !loaded(root) || !matches!(read_table(root, TABLE)?, State::Is(_)) {
        return Ok(State::Absent);
    }
    consistent(|conn| {
        let named = nla(1, &c_bytes(TABLE));
        let what = format!("list links of flowtable {NAME}");
        for message in conn.request(GET_FLOWTABLE, NLM_F_DUMP, INET, named.clone(), &what)? {
            let flowtable = attrs(&message.body);
            if string(&flowtable, 1) != TABLE || string(&flowtable, 2) != NAME {
                continue;
            }
            let hook = attrs(flowtable.get(&3).copied().unwrap_or_default());
            let mut links = nlas(hook.get(&3).copied().unwrap_or_default());
            if links.any(|(_, name)| c_string(name) == link) {
                return Ok(State::is(TABLE));
            }
        }
        Ok(State::Absent)
    })
}

pub fn write_link(root: &Root, link: &str, state: &State) -> Result<()> {
    if *state == State::Absent {
        // Gone with its table, or with its link.
        if read_link(root, link)? == State::Absent {
            return Ok(());
        }
    }
    let (message, verb) = match state {
        State::Absent => (DELETE_FLOWTABLE, "remove"),
        _ => (NEW_FLOWTABLE, "add"),
    };
    let body =
        attributes(&[(1, &c_bytes(TABLE)), (2, &c_bytes(NAME)), (3, &hook(Some(0), Some(link)))]);
    let what = format!("{verb} link {link} of flowtable {NAME}");
    Nft::open()?.commit(vec![(what.clone(), message, body)]).context(what)
}
