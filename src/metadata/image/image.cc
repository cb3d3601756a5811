#include "metadata/image/image.h"

#include <algorithm>

#include "base/check.h"
#include "protocol/messages/update_metadata.h"

namespace odradek::metadata {

namespace {

constexpr int32_t kLeaderDuringDelete = -2;

std::vector<BrokerId> broker_ids(const std::vector<int32_t>& values) {
  std::vector<BrokerId> ids;
  ids.reserve(values.size());
  for (int32_t value : values) ids.push_back({value});
  return ids;
}

std::vector<BrokerImage> brokers_of(const protocol::UpdateMetadataRequest& request) {
  std::vector<BrokerImage> brokers;
  brokers.reserve(request.live_brokers.size());
  for (const auto& live : request.live_brokers) {
    BrokerImage broker;
    broker.id = {live.id};
    broker.rack = live.rack;
    for (const auto& endpoint : live.endpoints) {
      auto protocol = static_cast<SecurityProtocol>(endpoint.security_protocol);
      // v1 and v2 have no listener names: then it is the protocol's.
      std::string listener = endpoint.listener.empty() ? std::string(name_of(protocol)) : endpoint.listener;
      broker.endpoints.push_back({std::move(listener), endpoint.host, endpoint.port, protocol});
    }
    if (live.endpoints.empty() && !live.v0_host.empty()) {
      broker.endpoints.push_back({std::string(name_of(SecurityProtocol::kPlaintext)), live.v0_host, live.v0_port, SecurityProtocol::kPlaintext});
    }
    brokers.push_back(std::move(broker));
  }
  std::sort(brokers.begin(), brokers.end(), [](const BrokerImage& a, const BrokerImage& b) { return a.id < b.id; });
  return brokers;
}

std::atomic<uint64_t> next_holder_id{1};

// Debian's Abseil has a string_view of its own.
absl::string_view key(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

const Endpoint* BrokerImage::endpoint(std::string_view listener) const {
  for (const Endpoint& candidate : endpoints) {
    if (candidate.listener == listener) return &candidate;
  }
  return nullptr;
}

const PartitionImage* TopicImage::find(int32_t partition) const {
  auto at = static_cast<size_t>(partition);
  if (at < partitions.size() && partitions[at].index == partition) return &partitions[at];
  auto found = std::lower_bound(partitions.begin(), partitions.end(), partition, [](const PartitionImage& p, int32_t index) { return p.index < index; });
  return found != partitions.end() && found->index == partition ? &*found : nullptr;
}

const BrokerImage* ClusterImage::find_broker(BrokerId id) const {
  auto found = std::lower_bound(brokers_->begin(), brokers_->end(), id, [](const BrokerImage& broker, BrokerId wanted) { return broker.id < wanted; });
  return found != brokers_->end() && found->id == id ? &*found : nullptr;
}

const TopicImage* ClusterImage::find_topic(std::string_view name) const {
  const auto& shard = by_name_[shard_of(name)];
  if (shard == nullptr) return nullptr;
  auto found = shard->find(key(name));
  return found == shard->end() ? nullptr : found->second.get();
}

const TopicImage* ClusterImage::find_topic(const Uuid& id) const {
  const auto& shard = by_id_[shard_of(id)];
  if (shard == nullptr) return nullptr;
  auto found = shard->find(id);
  return found == shard->end() ? nullptr : found->second.get();
}

const PartitionImage* ClusterImage::find_partition(std::string_view topic, int32_t partition) const {
  const TopicImage* found = find_topic(topic);
  return found == nullptr ? nullptr : found->find(partition);
}

std::vector<std::shared_ptr<const TopicImage>> ClusterImage::topics() const {
  std::vector<std::shared_ptr<const TopicImage>> all;
  all.reserve(topic_count_);
  for (const auto& shard : by_name_) {
    if (shard == nullptr) continue;
    for (const auto& [name, topic] : *shard) all.push_back(topic);
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a->name < b->name; });
  return all;
}

ImageHolder::ImageHolder() : id_(next_holder_id.fetch_add(1)), current_(std::make_shared<const ClusterImage>()) {}

std::shared_ptr<const ClusterImage> ImageHolder::current() const {
  struct Cached {
    uint64_t holder = 0;
    uint64_t version = 0;
    std::shared_ptr<const ClusterImage> image;
  };
  thread_local Cached cached;
  // Pairs with the release in publish(): who sees the version finds the image.
  uint64_t version = version_.load(std::memory_order_acquire);
  if (cached.holder != id_ || cached.version != version || cached.image == nullptr) [[unlikely]] {
    std::shared_ptr<const ClusterImage> newest;
    {
      base::MutexLock lock(mutex_);
      newest = current_;
    }
    const ClusterImage* image = newest.get();
    // A reference count of the thread's own: copies of it do not meet on one cache line with other threads'.
    auto own = std::make_shared<std::shared_ptr<const ClusterImage>>(std::move(newest));
    cached = {id_, image->version(), std::shared_ptr<const ClusterImage>(std::move(own), image)};
  }
  return cached.image;
}

void ImageHolder::publish(std::shared_ptr<const ClusterImage> image) {
  uint64_t version = image->version();
  base::MutexLock lock(mutex_);
  current_ = std::move(image);
  version_.store(version, std::memory_order_release);
}

void ImageHolder::subscribe(Subscriber subscriber) {
  base::MutexLock lock(apply_mutex_);
  subscribers_.push_back(std::move(subscriber));
}

void ImageHolder::apply(const protocol::UpdateMetadataRequest& request) {
  base::MutexLock lock(apply_mutex_);
  ImageChange change;
  change.before = current();
  auto next = std::make_shared<ClusterImage>(*change.before);
  ++next->version_;
  next->controller_ = {request.controller_id};
  auto brokers = brokers_of(request);
  if (brokers != *next->brokers_) {
    change.brokers_changed = true;
    next->brokers_ = std::make_shared<const std::vector<BrokerImage>>(std::move(brokers));
  }

  // Partitions by topic, whatever the form of the request.
  struct Change {
    Uuid id;
    std::vector<const protocol::UpdateMetadataRequest::UpdateMetadataPartitionState*> states;
  };
  std::map<std::string_view, Change> by_topic;
  for (const auto& state : request.ungrouped_partition_states) by_topic[state.topic_name].states.push_back(&state);
  for (const auto& topic : request.topic_states) {
    Change& one = by_topic[topic.topic_name];
    one.id = topic.topic_id;
    for (const auto& state : topic.partition_states) one.states.push_back(&state);
  }

  // Shards are copied at their first change.
  std::array<std::shared_ptr<ClusterImage::ByName>, ClusterImage::kShards> names;
  std::array<std::shared_ptr<ClusterImage::ById>, ClusterImage::kShards> ids;
  auto name_shard = [&](std::string_view name) -> ClusterImage::ByName& {
    size_t at = ClusterImage::shard_of(name);
    if (names[at] == nullptr) {
      const auto& present = next->by_name_[at];
      names[at] = present == nullptr ? std::make_shared<ClusterImage::ByName>() : std::make_shared<ClusterImage::ByName>(*present);
    }
    return *names[at];
  };
  auto id_shard = [&](const Uuid& id) -> ClusterImage::ById& {
    size_t at = ClusterImage::shard_of(id);
    if (ids[at] == nullptr) {
      const auto& present = next->by_id_[at];
      ids[at] = present == nullptr ? std::make_shared<ClusterImage::ById>() : std::make_shared<ClusterImage::ById>(*present);
    }
    return *ids[at];
  };

  for (auto& [name, one] : by_topic) {
    auto& shard = name_shard(name);
    auto present = shard.find(key(name));
    auto topic = std::make_shared<TopicImage>();
    if (present != shard.end()) {
      const TopicImage& former = *present->second;
      // Another id under the same name: nothing of the former topic counts.
      bool same = one.id.is_zero() || former.id.is_zero() || former.id == one.id;
      if (same) *topic = former;
      next->partition_count_ -= former.partitions.size();
      --next->topic_count_;
      if (!former.id.is_zero()) {
        auto& by_id = id_shard(former.id);
        auto entry = by_id.find(former.id);
        if (entry != by_id.end() && entry->second->name == name) by_id.erase(entry);
      }
    }
    topic->name = std::string(name);
    if (!one.id.is_zero()) topic->id = one.id;

    for (const auto* state : one.states) {
      auto at = std::lower_bound(topic->partitions.begin(), topic->partitions.end(), state->partition_index,
                                 [](const PartitionImage& p, int32_t index) { return p.index < index; });
      bool known = at != topic->partitions.end() && at->index == state->partition_index;
      if (state->leader == kLeaderDuringDelete) {
        if (known) topic->partitions.erase(at);
        change.deleted_partitions.push_back({topic->name, state->partition_index});
        continue;
      }
      if (!known) at = topic->partitions.insert(at, PartitionImage{});
      at->index = state->partition_index;
      at->leader = {state->leader};
      at->leader_epoch = {state->leader_epoch};
      at->controller_epoch = state->controller_epoch;
      at->partition_epoch = state->zk_version;
      at->replicas = broker_ids(state->replicas);
      at->isr = broker_ids(state->isr);
      at->offline = broker_ids(state->offline_replicas);
    }

    if (topic->partitions.empty()) {
      if (present != shard.end()) shard.erase(present);
      continue;
    }
    change.changed_topics.push_back(topic->name);
    next->partition_count_ += topic->partitions.size();
    ++next->topic_count_;
    std::shared_ptr<const TopicImage> done = std::move(topic);
    shard[done->name] = done;
    if (!done->id.is_zero()) id_shard(done->id)[done->id] = done;
  }
  for (size_t i = 0; i < ClusterImage::kShards; ++i) {
    if (names[i] != nullptr) next->by_name_[i] = std::move(names[i]);
    if (ids[i] != nullptr) next->by_id_[i] = std::move(ids[i]);
  }

  change.now = next;
  publish(std::move(next));
  for (const Subscriber& subscriber : subscribers_) subscriber(change);
}

}  // namespace odradek::metadata
