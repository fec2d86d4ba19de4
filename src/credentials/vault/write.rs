//! Writes sealed credentials over what is in the bucket, where that may be replaced.
//! Each attempt names the revision that it replaces, so that nothing is overwritten
//! unseen.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout_at};

use crate::backoff::Backoff;
use crate::credentials::given::ContentHash;
use crate::credentials::owners::{Owners, of_another_actor};
use crate::credentials::vault::bucket::{
    Bucket, BucketError, NotWritten, Stored, Version, WriteError,
};
use crate::credentials::vault::sealed::Sealer;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::nats::OwnLattice;

/// Pauses between attempts after conflicts. They are random: two writers that met
/// once must not meet again.
const RETRY: Backoff = Backoff::doubling(Duration::from_millis(4), Duration::from_millis(128));

/// What is to be in the bucket.
pub(crate) struct Wanted<'a> {
    pub(crate) lattice: &'a LatticeId,
    /// The actor that set it.
    pub(crate) actor: &'a str,
    pub(crate) hash: ContentHash,
    pub(crate) sealed: Bytes,
    /// When it was set, if a later one in the bucket is to stay: it was set while
    /// there was no bucket.
    pub(crate) set_offline_at: Option<u64>,
    pub(crate) known: Option<Known>,
}

/// What this instance knows to be in the bucket.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) version: Version,
    /// Whether it has the content that is to be there, so that there may be nothing to
    /// write.
    pub(crate) is_same: bool,
}

/// What is in the bucket now.
pub(crate) struct Written {
    pub(super) version: Version,
    /// As it stands there.
    pub(super) sealed: Bytes,
    /// Whether the same was there before.
    pub(super) was_there: bool,
}

/// Why something is not in the bucket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// It must not replace what is there.
    #[error(transparent)]
    Forbidden(Error),
    /// It was not written, or may not have been.
    #[error(transparent)]
    NotWritten(NotWritten),
}

/// Writes over what is in the bucket. Of several who write at once, the last one
/// wins. Where `opened` was deleted and made again, it writes into the new bucket.
///
/// # Errors
/// `Forbidden` where what is there belongs to another actor or was set later, else
/// why the write failed.
pub(super) async fn put(
    home: &OwnLattice,
    opened: &Bucket,
    sealer: Sealer<'_>,
    owners: Owners,
    wanted: &Wanted<'_>,
    deadline: Deadline,
) -> Result<Written, NotKept> {
    let mut bucket = Cow::Borrowed(opened);
    let known = wanted.known.map(|known| known.version);
    // The least version that the bucket can have, unless it lost one.
    let mut at_least = known.filter(|version| version.era == opened.era());
    // The revision that is replaced, 0 for none.
    let mut last = at_least.map_or(0, |version| version.revision);
    let mut conflicts = 0;
    loop {
        if conflicts > 0 || wanted.known.is_some_and(|known| known.is_same) {
            match read(&bucket, wanted.lattice, conflicts, deadline).await {
                Ok(there) => {
                    let version = there.as_ref().map(|there| there.version);
                    if version < at_least {
                        // What we know left without a mark, or the whole bucket did.
                        at_least = None;
                        if let Some(another) = another(home, &bucket, deadline).await? {
                            bucket = Cow::Owned(another);
                            continue;
                        }
                    }
                    last = version.map_or(0, |version| version.revision);
                    if let Some(Stored {
                        value: Some(sealed),
                        version,
                    }) = there
                        && is_same(sealer, owners, wanted, &sealed)?
                    {
                        return Ok(Written {
                            version,
                            sealed,
                            was_there: true,
                        });
                    }
                }
                // The write tells as well whether the same is there.
                Err(_) if conflicts == 0 => {}
                Err(why) => return Err(refused(why)),
            }
        }
        let write = bucket.write(wanted.lattice, wanted.sealed.clone(), last);
        match timeout_at(deadline.at(), write).await {
            Ok(Ok(version)) => {
                let sealed = wanted.sealed.clone();
                return Ok(Written {
                    version,
                    sealed,
                    was_there: false,
                });
            }
            Ok(Err(WriteError::Failed(why))) => return Err(NotKept::NotWritten(why)),
            Ok(Err(WriteError::Changed)) => {}
            Err(_) => {
                let why = NotWritten::Unknown(BucketError::Late);
                return Err(NotKept::NotWritten(why));
            }
        }
        let pause = RETRY.pause(conflicts);
        conflicts += 1;
        if deadline.remaining() < pause {
            return Err(refused(BucketError::Contended));
        }
        sleep(pause).await;
    }
}

/// Whether a value that is there has the same content, and stays; else it may be
/// replaced. One that cannot be opened has no owner.
///
/// # Errors
/// `Forbidden` where it must not be replaced.
fn is_same(
    sealer: Sealer<'_>,
    owners: Owners,
    wanted: &Wanted<'_>,
    sealed: &[u8],
) -> Result<bool, NotKept> {
    let Ok(there) = sealer.open(wanted.lattice, sealed) else {
        return Ok(false);
    };
    if !owners.may_use(wanted.actor, &there.given.actor) {
        let error = of_another_actor(wanted.lattice, wanted.actor);
        return Err(NotKept::Forbidden(error));
    }
    let hash = there.given.content_hash(&sealer.key.fingerprint_key());
    if there.is_placed && hash == wanted.hash {
        return Ok(true);
    }
    let is_earlier = |set_at: u64| there.given.set_at > set_at;
    match wanted.set_offline_at.is_some_and(is_earlier) {
        true => Err(NotKept::Forbidden(Error::new(
            Kind::Refused,
            "others were set later, and are kept".to_owned(),
        ))),
        false => Ok(false),
    }
}

/// Reads what is there. Before the first write it takes a quarter of the time at
/// most: the write needs time, too.
async fn read(
    bucket: &Bucket,
    lattice: &LatticeId,
    conflicts: usize,
    deadline: Deadline,
) -> Result<Option<Stored>, BucketError> {
    let until = match conflicts {
        0 => deadline.within(deadline.remaining() / 4),
        _ => deadline,
    };
    let read = timeout_at(until.at(), bucket.get(lattice)).await;
    read.unwrap_or(Err(BucketError::Late))
}

/// Returns the bucket that is there now, if it is another one.
async fn another(
    home: &OwnLattice,
    bucket: &Bucket,
    deadline: Deadline,
) -> Result<Option<Bucket>, NotKept> {
    let found = timeout_at(deadline.at(), Bucket::find(home)).await;
    match found.unwrap_or(Err(BucketError::Late)) {
        Ok(Some(now)) => Ok(Some(now).filter(|now| now.era() != bucket.era())),
        Ok(None) => Err(NotKept::NotWritten(NotWritten::Gone)),
        Err(why) => Err(refused(why)),
    }
}

fn refused(why: BucketError) -> NotKept {
    NotKept::NotWritten(NotWritten::Refused(why))
}
