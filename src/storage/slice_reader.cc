#include "storage/slice_reader.h"

#include "storage/log_dir.h"

namespace odradek::storage {

void SliceReader::load(const base::FileSlice& slice, Task done) {
  const uint32_t device = slice.file->device();
  if (device >= dirs_.size()) return done();  // no file of a log: the sender will wait for the disk itself
  dirs_[device]->reader().post([slice, done = std::move(done)]() mutable {
    slice.file->file().load_into_cache(slice.position, slice.size);
    done();
  });
}

}  // namespace odradek::storage
