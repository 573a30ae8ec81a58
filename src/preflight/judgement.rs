//! What a check says of a host.

use crate::message::Message;

/// What one check found. `Warn` and `Fail` come with commands that can be typed on that host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// As it should be; the detail is what was seen.
    Pass(Message),
    /// Works, with a reservation.
    Warn { detail: Message, hint: Message },
    /// Would go wrong.
    Fail { detail: Message, hint: Message },
    /// Can't be known here; the detail is the reason.
    Unknown(Message),
}

impl Judgement {
    pub(super) fn pass(detail: Message) -> Self {
        Judgement::Pass(detail)
    }

    pub(super) fn warn(detail: Message, hint: Message) -> Self {
        Judgement::Warn { detail, hint }
    }

    pub(super) fn fail(detail: Message, hint: Message) -> Self {
        Judgement::Fail { detail, hint }
    }

    pub(super) fn unknown(detail: Message) -> Self {
        Judgement::Unknown(detail)
    }

    /// Several judgements of one check as one. The worst decides, failures come first, a hint is given once. Without a
    /// failure or a warning it passes with `otherwise`.
    pub(super) fn of_all(judgements: Vec<Judgement>, otherwise: Message) -> Self {
        let (mut failures, mut warnings) = (Vec::new(), Vec::new());
        for judgement in judgements {
            match judgement {
                Judgement::Fail { detail, hint } => failures.push((detail, hint)),
                Judgement::Warn { detail, hint } => warnings.push((detail, hint)),
                Judgement::Pass(_) | Judgement::Unknown(_) => {}
            }
        }
        let fails = !failures.is_empty();
        let (mut details, mut hints) = (Vec::new(), Vec::new());
        for (detail, hint) in failures.into_iter().chain(warnings) {
            details.push(detail);
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        if details.is_empty() {
            return Judgement::pass(otherwise);
        }
        let (detail, hint) = (Message::joined(details, "; "), Message::joined(hints, "\n"));
        if fails { Judgement::Fail { detail, hint } } else { Judgement::Warn { detail, hint } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_comes_first_and_a_hint_is_given_once() {
        let warning = |detail: &'static str| Judgement::warn(Message::fixed(detail), Message::fixed("look"));
        let failure = Judgement::fail(Message::fixed("gone"), Message::fixed("mend"));
        let Judgement::Fail { detail, hint } =
            Judgement::of_all(vec![warning("old"), failure, warning("odd")], Message::fixed("fine"))
        else {
            panic!("a failure outweighs warnings")
        };
        assert_eq!((detail.to_string(), hint.to_string()), ("gone; old; odd".to_owned(), "mend\nlook".to_owned()));
        let passed = vec![Judgement::pass(Message::fixed("seen"))];
        assert_eq!(Judgement::of_all(passed, Message::fixed("fine")), Judgement::pass(Message::fixed("fine")));
    }
}
