// Offsets of clients that still speak OffsetCommit and OffsetFetch v0: they live in the metadata tree, as decimal text at
// /consumers/<group>/offsets/<topic>/<partition>, where the old consumers that talked to ZooKeeper themselves kept them too.
// Thread: any; replies run on the store's executor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/function.h"
#include "metadata/store/store.h"
#include "model/error_code.h"

namespace odradek::api {

// nullopt: no legal place for such a group (it is empty, or has a slash).
std::optional<std::string> consumer_offset_path(const std::string& group, const std::string& topic, int32_t partition);

// Creates what is missing on the way.
void write_consumer_offset(metadata::Store& store, std::string path, int64_t offset, UniqueFunction<void(ErrorCode)> done);
// kUnknownTopicOrPartition: nothing there.
void read_consumer_offset(metadata::Store& store, std::string path, UniqueFunction<void(ErrorCode, int64_t)> done);

}  // namespace odradek::api
