#include "replication/partition/isr_updates.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/log.h"

namespace odradek::replication {

using protocol::AlterPartitionRequest;
using protocol::AlterPartitionResponse;

namespace {
constexpr std::chrono::milliseconds kRetry{50};
}

struct IsrUpdates::State : std::enable_shared_from_this<State> {
  State(base::Runtime& runtime, base::Executor& executor, BrokerId self, OnChanged on_changed)
      : runtime(runtime), executor(executor), self(self), on_changed(std::move(on_changed)) {}

  base::Runtime& runtime;
  base::Executor& executor;
  const BrokerId self;
  base::Mutex mutex;
  OnChanged on_changed;  // called on the executor only
  AlterPartitionChannel* channel GUARDED_BY(mutex) = nullptr;
  int64_t broker_epoch GUARDED_BY(mutex) = -1;
  bool in_flight GUARDED_BY(mutex) = false;
  bool stopped GUARDED_BY(mutex) = false;
  std::vector<Item> waiting GUARDED_BY(mutex);

  void send_waiting() {
    std::vector<Item> items;
    AlterPartitionRequest request;
    AlterPartitionChannel* to;
    {
      base::MutexLock lock(mutex);
      if (in_flight || stopped || channel == nullptr || waiting.empty()) return;
      in_flight = true;
      items.swap(waiting);
      to = channel;
      request.broker_epoch = broker_epoch;
    }
    request.broker_id = self.value;
    std::map<std::pair<Uuid, std::string>, size_t> topics;  // by name too: topics of an old cluster have no ids
    for (const Item& item : items) {
      auto [at, added] = topics.try_emplace({item.topic_id, item.partition->name().topic}, request.topics.size());
      if (added) {
        auto& topic = request.topics.emplace_back();
        topic.topic_id = item.topic_id;
        topic.topic_name = item.partition->name().topic;
      }
      auto& partition = request.topics[at->second].partitions.emplace_back();
      partition.partition_index = item.partition->name().partition;
      partition.leader_epoch = item.change.leader_epoch.value;
      partition.partition_epoch = item.change.partition_epoch;
      for (BrokerId id : item.change.isr) {
        partition.new_isr.push_back(id.value);
        partition.new_isr_with_epochs.emplace_back().broker_id = id.value;
      }
    }
    // The answer may come after the end of this and of the executor.
    auto answer = std::make_shared<Result<AlterPartitionResponse>>();
    Task work = executor.posting([state = shared_from_this(), items = std::move(items), answer]() mutable { state->on_answer(std::move(items), *answer); });
    to->send(std::move(request), [answer, work = std::move(work)](Result<AlterPartitionResponse> came) mutable {
      *answer = std::move(came);
      work();
    });
  }

  void on_answer(std::vector<Item> items, const Result<AlterPartitionResponse>& answer) {
    std::vector<Item> again;
    if (!answer || answer->error_code != 0) {
      // No controller, or it has a new office holder: the wish stands until a LeaderAndIsr makes it void.
      log::debug("replication", "AlterPartition failed ({}), trying again", answer ? std::to_string(answer->error_code) : answer.error().what);
      again = std::move(items);
    } else {
      // By id, or by name where one topic without an id made the request name them all (alter_partition_version).
      std::map<std::tuple<Uuid, std::string, int32_t>, const AlterPartitionResponse::PartitionData*> answers;
      for (const auto& topic : answer->topics) {
        const std::string name = topic.topic_id.is_zero() ? topic.topic_name : std::string();
        for (const auto& partition : topic.partitions) answers[{topic.topic_id, name, partition.partition_index}] = &partition;
      }
      for (Item& item : items) {
        const TopicPartition& tp = item.partition->name();
        auto found = item.topic_id.is_zero() ? answers.end() : answers.find({item.topic_id, "", tp.partition});
        if (found == answers.end()) found = answers.find({Uuid{}, tp.topic, tp.partition});
        if (found == answers.end()) {
          again.push_back(std::move(item));
          continue;
        }
        if (!take(item, *found->second)) again.push_back(std::move(item));
      }
    }
    {
      base::MutexLock lock(mutex);
      in_flight = false;
      if (stopped) return;
      for (Item& item : again) {
        // Made void meanwhile by a newer wish or another leadership.
        if (item.partition->is_leader() && item.partition->leader_epoch() == item.change.leader_epoch) waiting.push_back(std::move(item));
      }
    }
    if (again.empty()) {
      send_waiting();
    } else {
      runtime.timers().after(kRetry, executor.posting([weak = weak_from_this()] {
        if (auto state = weak.lock()) state->send_waiting();
      }));
    }
  }

  // False: to be tried again.
  bool take(Item& item, const AlterPartitionResponse::PartitionData& answer) {
    const LeaderEpoch epoch = item.change.leader_epoch;
    switch (static_cast<ErrorCode>(answer.error_code)) {
      case ErrorCode::kNone: {
        std::vector<BrokerId> isr;
        for (int32_t id : answer.isr) isr.push_back({id});
        const std::vector<BrokerId> before = item.partition->isr();
        item.partition->on_isr_changed({answer.leader_epoch}, isr, answer.partition_epoch);
        on_changed(item.partition, before);
        return true;
      }
      case ErrorCode::kInvalidUpdateVersion:
      case ErrorCode::kFencedLeaderEpoch:
      case ErrorCode::kUnknownTopicOrPartition:
      case ErrorCode::kUnknownTopicId:
      case ErrorCode::kInvalidRequest:
      case ErrorCode::kNewLeaderElected: item.partition->on_isr_refused(epoch, true); return true;
      case ErrorCode::kIneligibleReplica:
      case ErrorCode::kOperationNotAttempted:
        item.partition->on_isr_refused(epoch, false);
        on_changed(item.partition, item.partition->isr());
        return true;
      default: return false;
    }
  }
};

int16_t alter_partition_version(const AlterPartitionRequest& request) {
  constexpr int16_t kLastWithNames = 1;
  const bool all_have_ids = std::none_of(request.topics.begin(), request.topics.end(), [](const auto& topic) { return topic.topic_id.is_zero(); });
  return all_have_ids ? AlterPartitionRequest::kMaxVersion : kLastWithNames;
}

IsrUpdates::IsrUpdates(base::Runtime& runtime, base::Executor& executor, BrokerId self, OnChanged on_changed)
    : state_(std::make_shared<State>(runtime, executor, self, std::move(on_changed))) {}

IsrUpdates::~IsrUpdates() {
  base::MutexLock lock(state_->mutex);
  state_->stopped = true;
  state_->channel = nullptr;
}

void IsrUpdates::set_channel(AlterPartitionChannel* channel) {
  {
    base::MutexLock lock(state_->mutex);
    state_->channel = channel;
  }
  state_->send_waiting();
}

void IsrUpdates::set_broker_epoch(int64_t epoch) {
  base::MutexLock lock(state_->mutex);
  state_->broker_epoch = epoch;
}

void IsrUpdates::submit(std::shared_ptr<Partition> partition, Uuid topic_id, IsrChange change) {
  {
    base::MutexLock lock(state_->mutex);
    state_->waiting.push_back({std::move(partition), topic_id, std::move(change)});
  }
  state_->send_waiting();
}

}  // namespace odradek::replication
