#include "controller/broker_queue.h"

#include "base/log.h"
#include "metadata/cluster_config.h"

namespace odradek::controller {

struct BrokerQueue::State : std::enable_shared_from_this<BrokerQueue::State> {
  State(base::Runtime& r, base::Executor& e, std::unique_ptr<BrokerChannel> c, int64_t backoff_ms, Answered a)
      : runtime(r), executor(e), channel(std::move(c)), retry_backoff_ms(backoff_ms), answered(std::move(a)) {}

  void send_first() {
    in_flight = true;
    ++sent;
    std::visit([&](const auto& request) { send(request); }, queue.front().request);
  }

  template <class Request>
  void send(const Request& request) {
    auto reply = [weak = weak_from_this(), &runs_on = executor, number = sent]<class Response>(Result<Response> response) mutable {
      runs_on.post([weak, number, response = std::move(response)]() mutable {
        auto self = weak.lock();
        if (self && number == self->sent) self->on_response(std::move(response));  // else: by a channel that was given up
      });
    };
    if constexpr (std::is_same_v<Request, protocol::LeaderAndIsrRequest>) {
      channel->send(request, [reply](Result<protocol::LeaderAndIsrResponse> response) mutable { reply(std::move(response)); });
    } else if constexpr (std::is_same_v<Request, protocol::UpdateMetadataRequest>) {
      channel->send(request, [reply](Result<protocol::UpdateMetadataResponse> response) mutable { reply(std::move(response)); });
    } else {
      channel->send(request, [reply](Result<protocol::StopReplicaResponse> response) mutable { reply(std::move(response)); });
    }
  }

  template <class Response>
  void on_response(Result<Response> response) {
    if (stopped) return;
    if (!response) {
      // A broker that is dead is asked until its session ends: one line when that begins.
      log::at("controller", failures++ == 0 ? log::Level::kWarn : log::Level::kDebug, "a request is not answered and is repeated until it is, or until the broker is gone: {}",
              response.error().what);
      runtime.timers().after(std::chrono::milliseconds(retry_backoff_ms), executor.posting([weak = weak_from_this(), number = sent] {
        auto self = weak.lock();
        if (self && !self->stopped && number == self->sent) self->send_first();
      }));
      return;
    }
    if (std::exchange(failures, 0) > 1) log::info("controller", "the broker answers again");
    Request request = std::move(queue.front().request);
    queue.pop_front();
    in_flight = false;
    if (!queue.empty()) send_first();
    if constexpr (std::is_same_v<Response, protocol::LeaderAndIsrResponse>) {
      answered.leader_and_isr(std::get<protocol::LeaderAndIsrRequest>(request), *response);
    } else if constexpr (std::is_same_v<Response, protocol::StopReplicaResponse>) {
      answered.stop_replica(std::get<protocol::StopReplicaRequest>(request), *response);
    } else {
      answered.update_metadata(response->error_code);
    }
  }

  base::Runtime& runtime;
  base::Executor& executor;
  std::unique_ptr<BrokerChannel> channel;
  const int64_t retry_backoff_ms;
  const Answered answered;
  struct Queued {
    Request request;
    std::vector<std::shared_ptr<void>> kept;  // until the answer
  };
  std::deque<Queued> queue;
  bool in_flight = false;
  uint64_t sent = 0;  // requests handed to the channel; the last of them is the one whose answer counts
  int failures = 0;   // in a row
  bool stopped = false;
};

BrokerQueue::BrokerQueue(base::Runtime& runtime, base::Executor& executor, std::unique_ptr<BrokerChannel> channel, int64_t retry_backoff_ms,
                         Answered answered)
    : state_(std::make_shared<State>(runtime, executor, std::move(channel), retry_backoff_ms, std::move(answered))) {}
BrokerQueue::~BrokerQueue() {
  state_->stopped = true;
  state_->queue.clear();
}

void BrokerQueue::push(Request request) {
  state_->queue.push_back({std::move(request), {}});
  if (!state_->in_flight) state_->send_first();
}

void BrokerQueue::move_to(std::unique_ptr<BrokerChannel> channel) {
  state_->channel = std::move(channel);
  if (!state_->queue.empty()) state_->send_first();
}

size_t BrokerQueue::size() const { return state_->queue.size(); }

void BrokerQueue::keep_until_answered(std::shared_ptr<void> thing) {
  if (!state_->queue.empty()) state_->queue.back().kept.push_back(std::move(thing));
}

void prepare_topics(metadata::ConfigStore& configs, const protocol::LeaderAndIsrRequest& request, Task then) {
  std::vector<std::string> topics;
  bool replicas_join = false;
  for (const auto& topic : request.topic_states) {
    topics.push_back(topic.topic_name);
    for (const auto& partition : topic.partition_states) replicas_join = replicas_join || !partition.adding_replicas.empty();
  }
  for (const auto& partition : request.ungrouped_partition_states) topics.push_back(partition.topic_name);  // versions 0 and 1
  auto read = [&configs, topics = std::move(topics), then = std::move(then)]() mutable { configs.ensure_topics(std::move(topics), std::move(then)); };
  // A throttle that was set before the reassignment.
  if (replicas_join) return configs.after_changes(std::move(read));
  read();
}

namespace {

class LocalChannel final : public BrokerChannel {
 public:
  LocalChannel(base::Executor& executor, std::shared_ptr<const LocalBroker> broker) : executor_(executor), broker_(std::move(broker)) {}

  void send(const protocol::LeaderAndIsrRequest& request, Reply<protocol::LeaderAndIsrResponse> done) override {
    auto apply = [&executor = executor_, broker = broker_, request, done = std::move(done)]() mutable {
      executor.post([broker = std::move(broker), request = std::move(request), done = std::move(done)]() mutable { done(broker->leader_and_isr(request)); });
    };
    if (broker_->prepare_topics) {
      broker_->prepare_topics(request, std::move(apply));
    } else {
      apply();
    }
  }
  void send(const protocol::UpdateMetadataRequest& request, Reply<protocol::UpdateMetadataResponse> done) override {
    executor_.post([broker = broker_, request, done = std::move(done)]() mutable { done(broker->update_metadata(request)); });
  }
  void send(const protocol::StopReplicaRequest& request, Reply<protocol::StopReplicaResponse> done) override {
    executor_.post([broker = broker_, request, done = std::move(done)]() mutable { done(broker->stop_replica(request)); });
  }

 private:
  base::Executor& executor_;
  std::shared_ptr<const LocalBroker> broker_;  // shared with the app, and with requests on their way
};

}  // namespace

std::unique_ptr<BrokerChannel> make_local_channel(base::Executor& executor, std::shared_ptr<const LocalBroker> broker) {
  return std::make_unique<LocalChannel>(executor, std::move(broker));
}

}  // namespace odradek::controller
