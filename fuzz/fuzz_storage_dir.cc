// A log dir whose files hold anything: the start on it, all reads, an append, a clean stop, and a start again that must find the same.
// Input: byte 0: bit 0 the broker had stopped cleanly, bit 1 it is killed instead of stopped. Then changes of the files of a good dir:
// a byte for the file (bit 7: all of it is replaced, bit 6: its CRCs are mended afterwards), two for a position, one for a length, the bytes.
#include <algorithm>
#include <vector>

#include "base/crc.h"
#include "base/log.h"
#include "storage/broken_dir_support.h"

using namespace odradek;
using namespace odradek::storage;
using testing::BrokenDir;

namespace {

void mend(const std::string& path, Bytes& bytes) {
  if (path.ends_with(".snapshot") && bytes.size() > 6) base::store_be<uint32_t>(bytes.data() + 2, base::crc32c(ByteView(bytes).subspan(6)));
  if (!path.ends_with(".log")) return;
  for (size_t at = 0; at + record::kBatchHeaderSize <= bytes.size();) {
    const int64_t size = int64_t{base::load_be<int32_t>(bytes.data() + at + record::kSizeAt)} + static_cast<int64_t>(record::kFrameOverhead);
    if (size < static_cast<int64_t>(record::kBatchHeaderSize) || static_cast<size_t>(size) > bytes.size() - at) return;
    record::set_crc(MutableByteView(bytes).subspan(at, static_cast<size_t>(size)));
    at += static_cast<size_t>(size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const BrokenDir::Files good[2] = {(log::set_level(log::Level::kOff), testing::make_dir(false)), testing::make_dir(true)};
  if (size < 1) return 0;
  BrokenDir::Files files = good[data[0] & 1];
  std::vector<std::string> paths;
  for (const auto& [path, bytes] : files) paths.push_back(path);
  ByteView rest(data + 1, size - 1);
  while (rest.size() >= 4) {
    const std::string& path = paths[(rest[0] & 63) % paths.size()];
    Bytes& file = files[path];
    const size_t position = std::min<size_t>(static_cast<size_t>(rest[1]) << 8 | rest[2], file.size());
    ByteView change = rest.subspan(4, std::min<size_t>(rest[3], rest.size() - 4));
    if ((rest[0] & 128) != 0) file.clear();
    const size_t at = std::min(position, file.size());
    file.resize(std::max(file.size(), at + change.size()));
    std::copy(change.begin(), change.end(), file.begin() + static_cast<ptrdiff_t>(at));
    if ((rest[0] & 64) != 0) mend(path, file);
    rest = rest.subspan(4 + change.size());
  }

  BrokenDir dir(files);
  if (!dir.start() || dir.log() == nullptr) return 0;
  (void)BrokenDir::read(*dir.log());
  const Offset before = dir.log()->log_end_offset();
  const bool appended = BrokenDir::append(*dir.log(), kNoProducer, 0, false, INT32_MAX);
  const Offset end = dir.log()->log_end_offset();
  CHECK(end == before + (appended ? 2 : 0));
  const Offset start = dir.log()->log_start_offset();
  if ((data[0] & 2) != 0) {
    dir.kill();
    if (dir.start() && dir.log() != nullptr) (void)BrokenDir::read(*dir.log());
    return 0;
  }
  dir.stop();
  CHECK(dir.start() && dir.log() != nullptr);
  CHECK(dir.log()->log_end_offset() == end && dir.log()->log_start_offset() == start);
  (void)BrokenDir::read(*dir.log());
  return 0;
}
