// What this broker knows about the cluster: brokers, topics, leaders. Fed by the controller's UpdateMetadata requests alone; answers
// Metadata, FindCoordinator and liveness. Never decides leadership for data requests (replication::Partition does).
// Immutable: a change makes a new image that shares every topic but the changed ones.
// Thread: any; an image may be kept as long as wanted.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "model/types.h"

namespace odradek::protocol {
struct UpdateMetadataRequest;
}

namespace odradek::metadata {

struct Endpoint {
  std::string listener;  // listener name, upper case as registered
  std::string host;
  int32_t port = 0;
  SecurityProtocol protocol = SecurityProtocol::kPlaintext;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

struct BrokerImage {
  BrokerId id = kNoBroker;
  std::vector<Endpoint> endpoints;
  std::optional<std::string> rack;
  // Null: the broker has no such listener.
  const Endpoint* endpoint(std::string_view listener) const;
  friend bool operator==(const BrokerImage&, const BrokerImage&) = default;
};

struct PartitionImage {
  int32_t index = 0;
  BrokerId leader = kNoBroker;  // -1: none
  LeaderEpoch leader_epoch = kNoLeaderEpoch;
  int32_t controller_epoch = -1;  // under which the state was last written
  int32_t partition_epoch = -1;   // version of the state node
  std::vector<BrokerId> replicas;
  std::vector<BrokerId> isr;
  std::vector<BrokerId> offline;
};

struct TopicImage {
  std::string name;
  Uuid id;  // zero: unknown
  std::vector<PartitionImage> partitions;  // by rising index, as a rule 0..n-1
  // Null: unknown.
  const PartitionImage* find(int32_t partition) const;
};

class ClusterImage {
 public:
  uint64_t version() const { return version_; }
  // Who sent the last update; -1: none came yet.
  BrokerId controller() const { return controller_; }

  // By rising id; the live ones.
  const std::vector<BrokerImage>& brokers() const { return *brokers_; }
  const BrokerImage* find_broker(BrokerId id) const;
  bool is_alive(BrokerId id) const { return find_broker(id) != nullptr; }

  // Null: unknown. The pointer lives as long as the image.
  const TopicImage* find_topic(std::string_view name) const;
  const TopicImage* find_topic(const Uuid& id) const;
  const PartitionImage* find_partition(std::string_view topic, int32_t partition) const;
  size_t topic_count() const { return topic_count_; }
  size_t partition_count() const { return partition_count_; }
  // In no order.
  template <class F>
  void for_each_topic(F&& visit) const {
    for (const auto& shard : by_name_) {
      if (shard == nullptr) continue;
      for (const auto& [name, topic] : *shard) visit(*topic);
    }
  }
  // Sorted by name.
  std::vector<std::shared_ptr<const TopicImage>> topics() const;

 private:
  friend class ImageHolder;
  // A map in two levels: a change copies the outer array of pointers and one inner map.
  static constexpr size_t kShards = 256;
  using ByName = absl::flat_hash_map<std::string, std::shared_ptr<const TopicImage>>;
  using ById = absl::flat_hash_map<Uuid, std::shared_ptr<const TopicImage>>;

  static size_t shard_of(std::string_view name) { return std::hash<std::string_view>{}(name) % kShards; }
  static size_t shard_of(const Uuid& id) { return std::hash<Uuid>{}(id) % kShards; }

  uint64_t version_ = 0;
  BrokerId controller_ = kNoBroker;
  std::shared_ptr<const std::vector<BrokerImage>> brokers_ = std::make_shared<const std::vector<BrokerImage>>();
  std::array<std::shared_ptr<const ByName>, kShards> by_name_;
  std::array<std::shared_ptr<const ById>, kShards> by_id_;
  size_t topic_count_ = 0;
  size_t partition_count_ = 0;
};

// What one update changed.
struct ImageChange {
  std::shared_ptr<const ClusterImage> before;
  std::shared_ptr<const ClusterImage> now;
  std::vector<std::string> changed_topics;        // new ones too
  std::vector<TopicPartition> deleted_partitions;  // of topics that are being deleted
  bool brokers_changed = false;
};

// The newest image.
class ImageHolder {
 public:
  using Subscriber = std::function<void(const ImageChange&)>;

  ImageHolder();
  ImageHolder(const ImageHolder&) = delete;

  // Cost: one load and one compare while nothing changed; the reference count touched is the thread's own.
  std::shared_ptr<const ClusterImage> current() const;

  // The caller has checked controller and broker epoch. One update at a time; subscribers run before this returns.
  void apply(const protocol::UpdateMetadataRequest& request);
  // Called after each change, on the thread of apply(). For the life of the holder. Must be short.
  void subscribe(Subscriber subscriber);

 private:
  void publish(std::shared_ptr<const ClusterImage> image);

  const uint64_t id_;  // tells holders apart in the threads' caches
  std::atomic<uint64_t> version_{0};
  mutable base::Mutex mutex_;
  std::shared_ptr<const ClusterImage> current_ GUARDED_BY(mutex_);
  base::Mutex apply_mutex_;  // taken before mutex_
  std::vector<Subscriber> subscribers_ GUARDED_BY(apply_mutex_);
};

}  // namespace odradek::metadata
