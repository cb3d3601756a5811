// What the flush threads flush: a log.
#pragma once

namespace odradek::storage {

class Flushable {
 public:
  virtual ~Flushable() = default;
  // On a flush thread, once for each Flusher::enqueue(); may block on the disk.
  virtual void run_flush() = 0;
  // On a flush thread: the time that Flusher::flush_after() was given is over.
  virtual void flush_is_due() = 0;
};

}  // namespace odradek::storage
