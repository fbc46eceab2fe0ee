//! Why the catalog refused: one variant for each meaning that S3 knows, and a few of our own.

use crate::wire::wire_enum;

wire_enum! {
    #[derive(Copy)]
    pub enum Error {
        1 => NoSuchBucket,
        2 => BucketAlreadyExists,
        3 => BucketAlreadyOwnedByYou,
        4 => BucketNotEmpty,

        10 => NoSuchKey,
        11 => PreconditionFailed,

        20 => NoSuchUpload,
        /// A listed part was not uploaded, or is another one by now.
        21 => InvalidPart,
        /// The listed parts are not in ascending order.
        22 => InvalidPartOrder,
        /// A part that is not the last is too small.
        23 => EntityTooSmall,
        /// The parts together are not as large as the client said.
        24 => SizeMismatch,
        /// The range does not lie within the source of the copy.
        25 => InvalidRange,
        /// The part cannot be copied by reference: its bytes have to be sent.
        26 => CopyNeedsData,
        /// The object has no part of this number.
        27 => InvalidPartNumber,

        30 => NoSuchAccessKey,

        /// The session has ended, or has declared the upload ended: its chunks may be gone.
        40 => UploadFenced,
        /// The upload number was committed before. A number stands for one body.
        41 => UploadSpent,
        /// A chunk is on too few disks that are still in use. Nothing was changed: the same upload can be
        /// committed with more receipts.
        42 => TooFewCopies,
        /// The receipts were given under a layout that is not open.
        43 => WrongLayout,
        /// The node has another disk than the one that is spoken of.
        44 => DiskReplaced,

        /// The operation is not one. Refused before it reaches the log, unless an older release let
        /// it through.
        50 => Malformed,
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Error {}
