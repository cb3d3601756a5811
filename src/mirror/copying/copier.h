// What a source's log holds becomes batches that a producer may send.
// A v2 batch is taken as it is: only its header changes (offset, leader epoch, producer, transactional mark, CRC), its records stay the
// bytes that the first producer made. Made anew, in the same codec, is only what a broker would not take or would change: a batch with
// holes left by compaction, one of whose records some lie before the first offset that is wanted, LogAppendTime (each record gets the time
// that readers of the source see), and messages of v0 and v1.
// Left out: control batches, batches without records and, when only committed records are wanted, those of aborted transactions.
// Thread: one at a time.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/types.h"
#include "record/batch_builder.h"
#include "record/frame.h"

namespace odradek::mirror {

// Consecutive source offsets.
struct Piece {
  Offset source;
  int64_t count = 0;
};

struct CopiedBatch {
  MutableByteView bytes;         // in the frames that were given, or `owned`
  std::unique_ptr<Bytes> owned;  // of a batch that was made anew
  int32_t count = 0;
  std::vector<Piece> pieces;     // its records, in order
};

// An aborted transaction, as a Fetch answer names it.
struct Aborted {
  int64_t producer_id = -1;
  Offset first_offset;
};

// Source offsets that were looked at, all of one leader epoch (-1: a format that does not say).
struct EpochPiece {
  LeaderEpoch epoch = kNoLeaderEpoch;
  Offset first, last;
};

struct Copied {
  std::vector<CopiedBatch> batches;
  std::vector<EpochPiece> epochs;  // in order, of all frames, also those of which nothing is copied
  Offset next;  // source offset behind all that was looked at
  int64_t rebuilt = 0;
};

class Copier {
 public:
  // `frames`: whole frames. Records below `from` are left out. `aborted`: none takes every record, committed or not.
  // Errors: kCorruptMessage: a CRC or a length is wrong; those of decompression and of records (kInvalidRecord ...).
  Result<Copied> copy(MutableByteView frames, Offset from, const std::vector<Aborted>& aborted);

 private:
  // Records that are collected into one new batch.
  struct Making {
    std::optional<record::BatchBuilder> builder;
    record::Codec codec = record::Codec::kNone;
    CopiedBatch batch;
  };
  static bool fits_as_it_is(const record::BatchView& batch, Offset from);
  void begin(Making& making, record::Codec codec);
  void finish(Making& making, Copied& copied);
  static void note(CopiedBatch& batch, Offset source);
  Result<void> rebuild(const record::BatchView& batch, Offset from, Making& making);
  Result<void> convert(const record::MessageView& message, Offset from, Making& making, Copied& copied);

  record::Decompressor decompressor_;
};

// Writes the producer into the header of a copied batch, and its CRC.
void seal(MutableByteView batch, ProducerId producer_id, int16_t producer_epoch, int32_t base_sequence);

}  // namespace odradek::mirror
