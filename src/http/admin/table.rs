//! Every operation of the admin API. What has no row here does not exist.

use super::operation::Operation;
use super::{audit, clients, decisions, groups, initial_access_tokens, keys, resources, users};

/// The rows, by resource.
const TABLE: &[&[Operation]] = &[
    clients::OPERATIONS,
    initial_access_tokens::OPERATIONS,
    resources::OPERATIONS,
    users::OPERATIONS,
    groups::OPERATIONS,
    keys::OPERATIONS,
    audit::OPERATIONS,
    decisions::OPERATIONS,
];

/// All of them, in the order in which the documentation shows them.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    TABLE.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::http::admin::operation::{Answer, Body, Verb};
    use crate::oauth::admin::Right;

    /// security.md R-70: what changes something needs the right to change, whatever its row says.
    #[test]
    fn only_what_reads_is_open_to_readers() {
        for operation in operations() {
            match operation.verb {
                Verb::Get => assert_eq!(operation.right, Right::Read, "{}", operation.id),
                Verb::Post | Verb::Put | Verb::Patch | Verb::Delete => {
                    assert_eq!(operation.right, Right::Write, "{}", operation.id)
                }
            }
        }
    }

    #[test]
    fn rows_are_unique_and_whole() {
        let mut ids = HashSet::new();
        let mut places = HashSet::new();
        for operation in operations() {
            assert!(ids.insert(operation.id), "{} twice", operation.id);
            assert!(places.insert((operation.verb.as_str(), operation.path)), "{} twice", operation.path);
            assert!(operation.path.starts_with('/') && !operation.path.ends_with('/'), "{}", operation.path);
            assert!(operation.summary.ends_with('.'), "{}", operation.id);
            let reads = matches!(operation.body, Body::None);
            assert!(reads || !matches!(operation.verb, Verb::Get | Verb::Delete), "{} has no body", operation.id);
            assert_eq!(matches!(operation.body, Body::Patch(_)), operation.verb == Verb::Patch, "{}", operation.id);
            assert!(!operation.conditional || operation.verb != Verb::Get, "{}", operation.id);
            let listed = matches!(operation.answer, Answer::Page(_) | Answer::Lines(_));
            assert!(listed || operation.query.iter().all(|query| !matches!(query.name, "limit" | "cursor")), "{}", operation.id);
        }
    }
}
