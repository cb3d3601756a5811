// The producers' state of a log on its disk: `<offset>.snapshot`, and what the batches behind it say.
// Thread: one per log. Blocks on the disk.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "storage/log/producer_state.h"
#include "storage/segment/segment.h"

namespace odradek::storage {

std::string snapshot_path(const std::string& folder, Offset offset);

// Brings `producers` to `upto`: newest good snapshot in [log_start, upto], then the batches behind it. Bad and later snapshots are
// removed, from the disk too.
Result<void> load_producers(LogDir& dir, const std::string& folder, const std::vector<std::shared_ptr<Segment>>& segments, Offset log_start,
                            Offset upto, std::vector<Offset>& snapshots, ProducerStateManager& producers);
// Updates `producers` with the batches in the last 16 MiB or so below `end`. Errors: kCorruptMessage, kKafkaStorageError.
Result<void> replay_tail(const std::vector<std::shared_ptr<Segment>>& segments, Offset end, ProducerStateManager& producers);
// The state as `<offset>.snapshot`; not synced.
Result<void> write_snapshot(LogDir& dir, const std::string& folder, Offset offset, const ProducerStateManager& producers,
                            std::vector<Offset>& snapshots);

}  // namespace odradek::storage
