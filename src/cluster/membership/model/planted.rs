//! Mistakes that are planted, one at a time: the check must find each.

/// A mistake in what hosts do, in what operators do, or in what the decision is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bug {
    /// Nothing that is remembered of removals and retired keys is taken into account.
    RemovalsIgnored,
    /// A removal notes the member's keys, and not that it has left.
    RemovalByKey,
    /// `add` without `--again` takes in again who was removed.
    AddDropsRemovals,
    /// `--again` counts only where most hosts remember the removal.
    AgainIfBelieved,
    /// A host's own list vouches for its own key.
    OwnListVouches,
    /// A list is taken whatever list the host has by now.
    SwapIgnored,
    /// A host takes in whom it remembers as gone.
    HostRevives,
    /// Several runs may give a host a new key at once, and others decide about it.
    LeaseIgnored,
    /// The claim of a rotation that is taken back ends before all have their lists back.
    ClaimEndsEarly,
    /// The others are taken back though it isn't known whether the host is.
    TakenBackUnknown,
    /// A rotation begins with whatever key the host has by then.
    AnyKeyIsRotated,
    /// A rotation puts the whole list that it has decided in the place of the host's.
    WholeListIsGiven,
    /// Hosts that can't be seen needn't know a new key.
    OnlyIsEverybody,
    /// The old key is deleted without a look at who has the new one.
    DroppedUnseen,
    /// The old key isn't remembered as retired.
    RetiredForgotten,
    /// A key that was only staged is retired.
    StagedIsRetired,
}

impl Bug {
    pub(super) const ALL: [Bug; 16] = [
        Bug::RemovalsIgnored,
        Bug::RemovalByKey,
        Bug::AddDropsRemovals,
        Bug::AgainIfBelieved,
        Bug::OwnListVouches,
        Bug::SwapIgnored,
        Bug::HostRevives,
        Bug::LeaseIgnored,
        Bug::ClaimEndsEarly,
        Bug::TakenBackUnknown,
        Bug::AnyKeyIsRotated,
        Bug::WholeListIsGiven,
        Bug::OnlyIsEverybody,
        Bug::DroppedUnseen,
        Bug::RetiredForgotten,
        Bug::StagedIsRetired,
    ];
}
