//! Laws that are wrong on purpose: a simulator that cannot find these finds nothing.

told! {
    /// One thing that a world does otherwise than the send law.
    Flaw {
        CrashMeansUnsent: "what was `committing` when its process died waits again",
        UnknownRetried: "what is unknown is tried again by itself",
        SentBeforeCommit: "letters leave as soon as they are written",
        CommitUnsynced: "a worker goes on before its transaction is synced",
        FencedWorkerCommits: "a worker whose lease was taken away still has its turns",
        StalePolicy: "the policy is looked at before the transaction that takes",
        TakenTwice: "what another worker has taken is taken again",
        HoldUnseen: "a plan that is held goes on",
        CancelledOnTheWire: "a plan that is cancelled cancels what is on the wire",
        ClaimsUnseen: "what another plan has told is told again",
        OccasionUnseen: "a claim is looked for by the message's id alone",
        OthersSettled: "a worker settles what others have in hand",
        RecoveredFromMemory: "what the dead left is settled as it was when it was looked at",
        ReservedForgotten: "what the dead had reserved is forgotten",
        DeferredForgotten: "what was put off is forgotten",
        LateRefusal: "a worker without a lease makes an unknown message a refused one",
        LateInClosedPlan: "a worker without a lease lets a message wait in a plan whose time has run out",
        StaysDelivered: "a plan that counts as delivered stays so when a late worker gives a message back",
        StoppedReopened: "a late worker that gives a message back opens a plan again that was cancelled",
        LateFile: "a worker without a lease still writes files",
        UnsyncedMeansNo: "a folder that cannot be synced means that the file is not there",
        SilenceMeansNo: "a broken connection means that the message did not arrive",
        SilenceMeansYes: "a broken connection means that the message arrived",
        WireDropped: "whoever is asked to stop drops what is on the wire",
        NoLimit: "as many messages as are ready are committed at once",
    }
}
