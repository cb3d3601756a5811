#include "metadata/producer_ids.h"

#include <algorithm>
#include <list>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "model/error_code.h"

namespace odradek::metadata {

namespace {
constexpr int64_t kWaitMs = 1000;
constexpr int64_t kRetryMs = 100;
}  // namespace

struct ProducerIds::State : std::enable_shared_from_this<ProducerIds::State> {
  struct Block {
    int64_t next = 0;
    int64_t end = 0;  // not included
    int64_t left() const { return end - next; }
  };
  struct Waiting {
    uint64_t id;
    UniqueFunction<void(Result<ProducerId>)> done;
    base::TimerId timer = 0;
  };

  State(base::Runtime& r, BrokerId broker, ProducerIdChannel& c) : runtime(r), self(broker), channel(c) {}

  std::optional<ProducerId> take() REQUIRES(mutex) {
    if (current.left() == 0 && upcoming) {
      current = *upcoming;
      upcoming.reset();
    }
    if (current.left() == 0) return std::nullopt;
    return ProducerId{current.next++};
  }
  bool wants_block() REQUIRES(mutex) { return !asking && !upcoming && current.left() * 10 <= size; }

  void ask() {
    protocol::AllocateProducerIdsRequest request;
    {
      base::MutexLock lock(mutex);
      if (!wants_block() || stopped) return;
      asking = true;
      request.broker_id = self.value;
      request.broker_epoch = broker_epoch;
    }
    channel.send(std::move(request), [state = shared_from_this()](Result<protocol::AllocateProducerIdsResponse> response) {
      state->on_answer(std::move(response));
    });
  }

  void on_answer(Result<protocol::AllocateProducerIdsResponse> response) {
    std::vector<std::pair<Waiting, ProducerId>> served;
    bool again = false, given = false;
    {
      base::MutexLock lock(mutex);
      asking = false;
      if (response && response->error_code == 0 && response->producer_id_len > 0) {
        given = true;
        size = response->producer_id_len;
        upcoming = Block{response->producer_id_start, response->producer_id_start + response->producer_id_len};
        while (!waiting.empty()) {
          auto id = take();
          if (!id) break;
          served.emplace_back(std::move(waiting.front()), *id);
          waiting.pop_front();
        }
      } else {
        again = !waiting.empty() && !stopped;
      }
    }
    for (auto& [one, id] : served) {
      runtime.timers().cancel(one.timer);
      one.done(id);
    }
    if (again) {
      runtime.timers().after(std::chrono::milliseconds(kRetryMs), [state = shared_from_this()] { state->ask(); });
    } else if (given) {
      ask();  // those who waited may have used most of it; after an error the next producer asks
    }
  }

  void give_up(uint64_t id) {
    UniqueFunction<void(Result<ProducerId>)> done;
    {
      base::MutexLock lock(mutex);
      auto at = std::find_if(waiting.begin(), waiting.end(), [&](const Waiting& one) { return one.id == id; });
      if (at == waiting.end()) return;
      done = std::move(at->done);
      waiting.erase(at);
    }
    done(fail(ErrorCode::kCoordinatorLoadInProgress, "no block of producer ids from the controller yet"));
  }

  base::Runtime& runtime;
  const BrokerId self;
  ProducerIdChannel& channel;
  base::Mutex mutex;
  Block current GUARDED_BY(mutex);
  std::optional<Block> upcoming GUARDED_BY(mutex);
  int64_t size GUARDED_BY(mutex) = 1000;
  int64_t broker_epoch GUARDED_BY(mutex) = -1;
  bool asking GUARDED_BY(mutex) = false;
  bool stopped GUARDED_BY(mutex) = false;
  uint64_t last_waiting GUARDED_BY(mutex) = 0;
  std::list<Waiting> waiting GUARDED_BY(mutex);
};

ProducerIds::ProducerIds(base::Runtime& runtime, BrokerId self, ProducerIdChannel& channel)
    : state_(std::make_shared<State>(runtime, self, channel)) {}

ProducerIds::~ProducerIds() {
  std::list<State::Waiting> waiting;
  {
    base::MutexLock lock(state_->mutex);
    state_->stopped = true;
    waiting.swap(state_->waiting);
  }
  for (auto& one : waiting) {
    state_->runtime.timers().cancel(one.timer);
    one.done(fail(ErrorCode::kCoordinatorLoadInProgress, "the broker stops"));
  }
}

void ProducerIds::set_broker_epoch(int64_t epoch) {
  base::MutexLock lock(state_->mutex);
  state_->broker_epoch = epoch;
}

void ProducerIds::next(UniqueFunction<void(Result<ProducerId>)> done) {
  std::optional<ProducerId> id;
  {
    base::MutexLock lock(state_->mutex);
    if (state_->waiting.empty()) id = state_->take();
    if (!id) {
      uint64_t mine = ++state_->last_waiting;
      base::TimerId timer = state_->runtime.timers().after(std::chrono::milliseconds(kWaitMs), [state = state_, mine] { state->give_up(mine); });
      state_->waiting.push_back({mine, std::move(done), timer});
    }
  }
  state_->ask();
  if (id) done(*id);
}

}  // namespace odradek::metadata
