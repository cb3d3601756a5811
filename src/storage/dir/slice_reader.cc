#include "storage/dir/slice_reader.h"

#include "storage/dir/log_dir.h"
#include "storage/files/page.h"

namespace odradek::storage {

int64_t BroughtSlices::add(const base::FileSlice& slice) {
  // Whole pages: parts of pages are never dropped.
  const int64_t position = slice.position - slice.position % kPage;
  const int64_t size = slice.position + slice.size - position;
  pieces_.push_back({slice.file, position, size + (kPage - size % kPage) % kPage});
  bytes_ += pieces_.back().size;
  int64_t left = 0;
  while (pieces_.size() > 1 && (bytes_ > max_bytes_ || pieces_.size() > kMaxPieces)) {
    const Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    bytes_ -= piece.size;
    auto file = piece.file.lock();
    if (file == nullptr) continue;
    file->file().drop_from_cache(piece.position, piece.size);
    left += piece.size;
  }
  return left;
}

void SliceReader::start() {
  for (size_t i = 0; i < dirs_.size(); ++i) brought_.push_back(std::make_unique<BroughtSlices>(max_bytes_));
}

void SliceReader::load(const base::FileSlice& slice, Task done) {
  const uint32_t device = slice.file->device();
  if (device >= brought_.size()) return done();  // no file of a log: the sender will wait for the disk itself
  dirs_[device]->reader().post([this, slice, device, done = std::move(done)]() mutable {
    slice.file->file().load_into_cache(slice.position, slice.size);
    loaded_->inc(static_cast<uint64_t>(slice.size));
    if (const int64_t left = brought_[device]->add(slice); left > 0) dropped_->inc(static_cast<uint64_t>(left));
    done();
  });
}

}  // namespace odradek::storage
