//! The operations of the contract: the name, the group and the kind of answer of each.

/// What an operation does, and by which word settings allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `read`: it changes nothing.
    Read,
    /// `write`: it changes what runs or what is linked.
    Write,
    /// `credentials`: it takes secrets and hands them on.
    Credentials,
}

/// What an operation answers with when it was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was asked for.
    Data,
    /// `CtlOperationAck`, which can also say that it was not carried out.
    Acknowledgement,
    /// Nothing.
    Empty,
}

/// Defines [`Operation`] from one line for each: its name, its group, its answer and
/// the contract's type for its arguments.
macro_rules! operations {
    ($($name:ident $group:ident $answer:ident $arguments:ident)*) => {
        /// An operation of the contract.
        #[allow(missing_docs, reason = "the contract documents each under its name")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation {
            $($name),*
        }

        impl Operation {
            /// Every operation, sorted by name.
            pub const ALL: [Self; 17] = [$(Self::$name),*];

            /// The names of [`Operation::ALL`].
            pub const NAMES: [&str; 17] = [$(stringify!($name)),*];

            /// Returns the name without that of the service.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }

            /// Returns the name with that of the service, as callers give it.
            pub const fn full_name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("LatticeController.", stringify!($name))),*
                }
            }

            /// Returns what the operation does.
            pub const fn group(self) -> Group {
                match self {
                    $(Self::$name => Group::$group),*
                }
            }

            /// Returns what the operation answers with.
            pub const fn answer(self) -> Answer {
                match self {
                    $(Self::$name => Answer::$answer),*
                }
            }

            /// Returns the name of the contract's type for the arguments.
            pub const fn arguments(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($arguments)),*
                }
            }
        }
    };
}

operations! {
    AdvertiseLink           Write        Acknowledgement  AdvertiseLinkRequest
    AuctionActor            Read         Data             ActorAuctionRequest
    AuctionProvider         Read         Data             ProviderAuctionRequest
    GetClaims               Read         Data             String
    GetHostInventory        Read         Data             GetHostInventoryRequest
    GetHosts                Read         Data             String
    GetLinks                Read         Data             String
    RemoveLink              Write        Acknowledgement  RemoveLinkDefinitionRequest
    ScaleActor              Write        Acknowledgement  ScaleActorCommand
    SetLatticeCredentials   Credentials  Acknowledgement  SetLatticeCredentialsRequest
    SetRegistryCredentials  Credentials  Empty            SetRegistryCredentialsRequest
    StartActor              Write        Acknowledgement  StartActorCommand
    StartProvider           Write        Acknowledgement  StartProviderCommand
    StopActor               Write        Acknowledgement  StopActorCommand
    StopHost                Write        Acknowledgement  StopHostCommand
    StopProvider            Write        Acknowledgement  StopProviderCommand
    UpdateActor             Write        Acknowledgement  UpdateActorCommand
}

impl Operation {
    /// Returns the operation that callers call by this full name, if there is one.
    pub fn from_full_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.full_name() == name)
    }

    /// Whether a call may change something, so that it must not be carried out twice.
    pub fn is_command(self) -> bool {
        self.group() != Group::Read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_known_by_their_full_names_only() {
        for known in Operation::ALL {
            assert_eq!(Operation::from_full_name(known.full_name()), Some(known));
        }
        for other in ["GetHosts", "X.GetHosts", "LatticeController.Nope", "", "."] {
            assert_eq!(Operation::from_full_name(other), None, "{other}");
        }
    }

    #[test]
    fn operations_are_sorted_by_name() {
        assert!(Operation::NAMES.is_sorted());
    }

    #[test]
    fn ten_operations_answer_with_an_acknowledgement() {
        let acknowledges = |one: &Operation| one.answer() == Answer::Acknowledgement;
        let all = Operation::ALL;
        assert_eq!(all.iter().filter(|one| acknowledges(one)).count(), 10);
        // Of what only reads, none does.
        assert!(
            all.iter()
                .all(|one| one.is_command() || one.answer() == Answer::Data)
        );
    }
}
