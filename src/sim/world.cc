#include "sim/world.h"

#include <algorithm>
#include <cstdio>

namespace odradek::sim {

uint64_t SeededRandom::next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

World::EventId World::at(int64_t when_ns, Task task) {
  const EventId id = ++last_id_;
  when_ns = std::max(when_ns, now_ns_);
  events_.emplace(std::pair(when_ns, id), std::move(task));
  due_of_.emplace(id, when_ns);
  return id;
}

bool World::cancel(EventId id) {
  auto found = due_of_.find(id);
  if (found == due_of_.end()) return false;
  auto event = events_.find({found->second, id});
  Task dropped = std::move(event->second);  // may own anything: destroyed after the maps are in order
  events_.erase(event);
  due_of_.erase(found);
  return true;
}

bool World::step() {
  size_t runnable = 0;
  for (TaskSource* source : sources_) runnable += source->runnable();
  const bool event_due = !events_.empty() && events_.begin()->first.first <= now_ns_;
  if (runnable == 0 && !event_due) {
    int64_t next = events_.empty() ? INT64_MAX : events_.begin()->first.first;
    for (TaskSource* source : sources_) next = std::min(next, source->next_ns());
    if (next == INT64_MAX) return false;
    now_ns_ = std::max(now_ns_, next);
    return step();
  }
  ++steps_;
  size_t pick = random.below(runnable + (event_due ? 1 : 0));
  for (TaskSource* source : sources_) {
    size_t here = source->runnable();
    if (pick < here) {
      source->run(pick);
      now_ns_ += random.between(500, 20'000);
      return true;
    }
    pick -= here;
  }
  auto first = events_.begin();
  Task task = std::move(first->second);
  due_of_.erase(first->first.second);
  events_.erase(first);
  task();
  return true;
}

void World::line(const std::string& text) {
  auto add = [&](const void* data, size_t size) {
    for (size_t i = 0; i < size; ++i) hash_ = (hash_ ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3ull;
  };
  add(&now_ns_, sizeof now_ns_);
  add(text.data(), text.size());
  if (verbose_) {
    std::fprintf(stdout, "%10.3f ms  %s\n", static_cast<double>(now_ns_ - kStartMs * 1'000'000) / 1e6, text.c_str());
  }
}

void World::violation(const std::string& what) {
  line("VIOLATION " + what);
  if (violation_.empty()) violation_ = what;
}

}  // namespace odradek::sim
