//! Writes an entry over what is there, where that may be replaced: each attempt
//! says which revision it replaces, so that nobody's entry is lost unseen.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout_at};

use crate::backoff::Backoff;
use crate::credentials::vault::bucket::{Bucket, NotWritten, Stored, Version, WriteError};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::name::LatticeId;
use crate::nats::OwnLattice;

/// Pauses before attempts after conflicts: those who met once must not meet again.
const AGAIN: Backoff = Backoff::doubling(Duration::from_millis(4), Duration::from_millis(128));

/// What is to be in the bucket.
pub struct Wanted<'a> {
    /// For this lattice.
    pub lattice: &'a LatticeId,
    /// The sealed entry.
    pub value: Bytes,
    /// The newest version that was heard of.
    pub known: Option<Version>,
    /// That version has the same in it: there may be nothing to write.
    pub is_known: bool,
}

/// What may be done to what is there.
pub enum Verdict {
    /// Nothing: it is what is wanted.
    Same,
    /// It may be replaced.
    Replaceable,
    /// It must not be.
    Forbidden(Error),
}

/// What is in the bucket now.
pub struct Kept {
    /// Where it stands.
    pub version: Version,
    /// As it stands there.
    pub value: Bytes,
    /// Whether it is in another bucket than the one that was opened.
    pub is_elsewhere: bool,
}

/// Why something is not in the bucket.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// It must not replace what is there.
    #[error("{0}")]
    Forbidden(Error),
    /// It was not written, or nobody knows.
    #[error("{0}")]
    NotWritten(NotWritten),
}

/// Has an entry in the bucket, over one that `judge` lets go: of those who write at
/// once, the last one wins.
///
/// # Errors
/// What `judge` says, or whether it is known that it was not written, and why.
pub async fn put(
    home: &OwnLattice,
    bucket: &Bucket,
    wanted: Wanted<'_>,
    judge: impl Fn(&Stored) -> Verdict,
    deadline: Deadline,
) -> Result<Kept, NotKept> {
    let lattice = wanted.lattice;
    let mut made_anew = None;
    let mut known = wanted.known.filter(|known| known.era == bucket.era());
    let mut last = known.map_or(0, |known| known.revision);
    let mut conflicts = 0;
    loop {
        let is_elsewhere = made_anew.is_some();
        let bucket = made_anew.as_ref().unwrap_or(bucket);
        if conflicts > 0 || wanted.is_known {
            match read(bucket, lattice, conflicts, deadline).await {
                Ok(there) => {
                    if there.as_ref().map(|there| there.version) < known {
                        // It left without a mark, or the whole bucket did.
                        known = None;
                        if let Some(another) = another(home, bucket, deadline).await? {
                            made_anew = Some(another);
                            continue;
                        }
                    }
                    match there.as_ref().map(&judge) {
                        Some(Verdict::Forbidden(why)) => return Err(NotKept::Forbidden(why)),
                        Some(Verdict::Same) => {
                            if let Some(kept) = there.and_then(|it| found(it, is_elsewhere)) {
                                return Ok(kept);
                            }
                        }
                        _ => last = there.map_or(0, |there| there.version.revision),
                    }
                }
                // A write says whether it is there as well.
                Err(_) if conflicts == 0 => {}
                Err(why) => return Err(refused(why)),
            }
        }
        let write = bucket.write(lattice, wanted.value.clone(), last);
        match timeout_at(deadline.at(), write).await {
            Ok(Ok(version)) => {
                return Ok(Kept {
                    version,
                    value: wanted.value,
                    is_elsewhere,
                });
            }
            Ok(Err(WriteError::Failed(why))) => return Err(NotKept::NotWritten(why)),
            Ok(Err(WriteError::Changed)) => {}
            Err(_) => {
                let why = NotWritten::Unknown("no answer in time".into());
                return Err(NotKept::NotWritten(why));
            }
        }
        let pause = AGAIN.pause(conflicts);
        conflicts += 1;
        if deadline.remaining() < pause {
            return Err(refused("others write it all the time".into()));
        }
        sleep(pause).await;
    }
}

/// What is there now. The first time there is something else to try, which needs
/// time, too.
async fn read(
    bucket: &Bucket,
    lattice: &LatticeId,
    conflicts: usize,
    deadline: Deadline,
) -> Result<Option<Stored>, String> {
    let until = match conflicts {
        0 => deadline.within(deadline.remaining() / 4),
        _ => deadline,
    };
    let read = timeout_at(until.at(), bucket.get(lattice)).await;
    read.unwrap_or_else(|_| Err("no answer in time".into()))
}

/// The bucket that is there now, if it is another one.
async fn another(
    home: &OwnLattice,
    bucket: &Bucket,
    deadline: Deadline,
) -> Result<Option<Bucket>, NotKept> {
    let found = timeout_at(deadline.at(), Bucket::find(home)).await;
    match found.unwrap_or_else(|_| Err("no answer in time".into())) {
        Ok(Some(now)) => Ok(Some(now).filter(|now| now.era() != bucket.era())),
        Ok(None) => Err(NotKept::NotWritten(NotWritten::Gone)),
        Err(why) => Err(refused(why)),
    }
}

fn found(there: Stored, is_elsewhere: bool) -> Option<Kept> {
    Some(Kept {
        version: there.version,
        value: there.value?,
        is_elsewhere,
    })
}

fn refused(why: String) -> NotKept {
    NotKept::NotWritten(NotWritten::Refused(why))
}
