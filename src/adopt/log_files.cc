#include "adopt/log_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "record/message.h"
#include "record/record.h"
#include "storage/files/checkpoint.h"
#include "storage/files/leader_epoch_cache.h"
#include "storage/segment/batch_walk.h"

namespace odradek::adopt {

namespace {

constexpr std::string_view kLogSuffix = ".log";
constexpr std::string_view kSnapshotSuffix = ".snapshot";
constexpr size_t kDigits = 20;
constexpr int64_t kMaxSmallFile = 256 << 20;

// The number of "<20 digits><suffix>"; nullopt: another name.
std::optional<int64_t> number_of(std::string_view name, std::string_view suffix) {
  if (name.size() != kDigits + suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  int64_t number = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + kDigits, number);
  if (error != std::errc() || end != name.data() + kDigits || number < 0) return std::nullopt;
  return number;
}

Result<std::vector<int64_t>> numbers_in(base::FileSystem& files, const std::string& folder, std::string_view suffix) {
  auto entries = files.list(folder);
  if (!entries) return fail(entries.error());
  std::vector<int64_t> numbers;
  for (const auto& entry : *entries) {
    if (auto number = number_of(entry.name, suffix)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

bool whole(ByteView frame) {
  if (frame[record::kMagicAt] == record::kMagicV2) return record::BatchView(frame).crc_matches();
  return record::MessageView(frame).crc_matches();
}

// Sets `ended` when the file does not hold frames to its end.
Result<bool> walk_file(base::FileSystem& files, const std::string& path, int64_t lowest, bool& ended, const std::function<Result<bool>(ByteView)>& each) {
  auto file = files.open(path, base::OpenMode::kRead);
  if (!file) return fail(file.error());
  auto size = (*file)->size();
  if (!size) return fail(size.error());
  storage::BatchWalk walk(**file, 0, *size, Offset{lowest});
  Bytes frame;
  for (;;) {
    auto meta = walk.next();
    if (!meta && meta.error().code != ErrorCode::kCorruptMessage) return fail(meta.error());
    if (!meta || !*meta) {
      ended = walk.position() < *size;
      return true;
    }
    frame.resize(static_cast<size_t>((*meta)->size));
    auto read = (*file)->pread((*meta)->position, frame);
    if (!read) return fail(read.error());
    if (*read != frame.size() || !whole(frame)) {
      ended = true;
      return true;
    }
    auto more = each(frame);
    if (!more || !*more) return more;
  }
}

}  // namespace

Result<std::vector<int64_t>> segment_bases(base::FileSystem& files, const std::string& folder) { return numbers_in(files, folder, kLogSuffix); }

std::string segment_file(int64_t base, std::string_view suffix) { return fmt::format("{:020}{}", base, suffix); }

Result<void> each_frame(base::FileSystem& files, const std::string& folder, const std::function<Result<bool>(ByteView)>& each) {
  auto bases = segment_bases(files, folder);
  if (!bases) return fail(bases.error());
  for (int64_t base : *bases) {
    bool ended = false;
    auto more = walk_file(files, folder + "/" + segment_file(base, kLogSuffix), base, ended, each);
    if (!more) return fail(more.error());
    if (!*more || ended) break;
  }
  return {};
}

Result<void> each_frame_of_file(base::FileSystem& files, const std::string& path, const std::function<Result<bool>(ByteView)>& each) {
  bool ended = false;
  auto more = walk_file(files, path, 0, ended, each);
  if (!more) return fail(more.error());
  if (ended) return fail(ErrorCode::kCorruptMessage, path + " is damaged");
  return {};
}

Result<void> each_record(ByteView frame, record::Decompressor& decompressor, const std::function<Result<void>(const LogRecord&)>& each) {
  if (frame[record::kMagicAt] == record::kMagicV2) {
    auto reader = record::RecordReader::open(record::BatchView(frame), decompressor);
    if (!reader) return fail(reader.error());
    record::RecordView view;
    for (;;) {
      auto more = reader->next(view);
      if (!more) return fail(more.error());
      if (!*more) return {};
      if (auto taken = each({view.offset, view.timestamp, view.key, view.value}); !taken) return taken;
    }
  }
  auto reader = record::MessageReader::open(record::MessageView(frame), decompressor);
  if (!reader) return fail(reader.error());
  record::MessageRecord message;
  for (;;) {
    auto more = reader->next(message);
    if (!more) return fail(more.error());
    if (!*more) return {};
    if (auto taken = each({message.offset, message.timestamp, message.key, message.value}); !taken) return taken;
  }
}

// Whether a record of the frame has no key; no, if the frame is damaged.
Result<bool> has_keyless(base::File& log, int64_t position, int64_t size) {
  Bytes frame(static_cast<size_t>(size));
  auto read = log.pread(position, frame);
  if (!read) return fail(read.error());
  if (*read != frame.size() || !whole(frame)) return false;
  record::Decompressor decompressor;
  bool found = false;
  auto all = each_record(frame, decompressor, [&](const LogRecord& record) -> Result<void> {
    found = found || !record.key;
    return {};
  });
  return all && found;
}

Result<LogTail> read_tail(base::FileSystem& files, const std::string& folder) {
  LogTail tail;
  auto bases = segment_bases(files, folder);
  if (!bases) return fail(bases.error());
  auto snapshots = numbers_in(files, folder, kSnapshotSuffix);
  if (!snapshots) return fail(snapshots.error());
  const std::string epochs = folder + "/" + std::string(storage::kLeaderEpochFile);
  if (files.exists(epochs)) {
    auto content = base::read_file(files, epochs, kMaxSmallFile);
    if (!content) return fail(content.error());
    auto cache = storage::LeaderEpochCache::decode(*content, epochs);
    if (!cache) return fail(cache.error());
    tail.epoch = cache->latest();
  }
  storage::ProducerStateManager producers;
  int64_t from = 0;
  for (auto snapshot = snapshots->rbegin(); snapshot != snapshots->rend(); ++snapshot) {
    auto content = base::read_file(files, folder + "/" + segment_file(*snapshot, kSnapshotSuffix), kMaxSmallFile);
    if (!content) return fail(content.error());
    if (!producers.load_snapshot(*content, Offset{*snapshot})) continue;
    from = *snapshot;
    break;
  }
  if (!bases->empty()) tail.start = tail.end = Offset{bases->front()};
  for (size_t i = 0; i < bases->size(); ++i) {
    const int64_t base = (*bases)[i];
    const std::string path = folder + "/" + segment_file(base, kLogSuffix);
    auto status = files.status(path);
    if (!status) return fail(status.error());
    tail.size_bytes += status->size;
    // Segments wholly below the snapshot have nothing to add; the last one tells the end.
    if (i + 1 < bases->size() && (*bases)[i + 1] <= from) continue;
    auto file = files.open(path, base::OpenMode::kRead);
    if (!file) return fail(file.error());
    tail.end = Offset{std::max(tail.end.value, base)};
    storage::BatchWalk walk(**file, 0, status->size, Offset{base});
    int64_t newest_at = 0, newest_size = 0;  // of records, not of markers
    for (;;) {
      auto meta = walk.next();
      if (!meta && meta.error().code != ErrorCode::kCorruptMessage) return fail(meta.error());
      if (!meta || !*meta) break;
      tail.end = Offset{(*meta)->last.value + 1};
      if (!(*meta)->header || !(*meta)->header.is_control()) {
        newest_at = (*meta)->position;
        newest_size = (*meta)->size;
      }
      if ((*meta)->leader_epoch > tail.epoch) tail.epoch = (*meta)->leader_epoch;
      const record::BatchHeader& header = (*meta)->header;
      if (!header || !header.has_producer() || (*meta)->base.value < from) continue;
      std::optional<record::EndTxnMarker> marker;
      if (header.is_control()) {
        Bytes frame(static_cast<size_t>((*meta)->size));
        auto read = (*file)->pread((*meta)->position, frame);
        if (!read) return fail(read.error());
        if (*read != frame.size()) break;
        auto parsed = record::parse_end_txn_marker(record::BatchView(frame));
        if (!parsed) break;
        marker = *parsed;
        auto ended = producers.update(record::BatchView(frame), marker);
        if (ended) producers.end_transaction(*ended);
        continue;
      }
      auto ended = producers.update(header, marker);
      if (ended) producers.end_transaction(*ended);
    }
    if (newest_size > 0) {
      auto keyless = has_keyless(**file, newest_at, newest_size);
      if (!keyless) return fail(keyless.error());
      tail.keyless = *keyless;
    }
    if (walk.position() < status->size) {
      tail.broken = true;
      break;
    }
  }
  tail.producers = producers.list();
  return tail;
}

}  // namespace odradek::adopt
