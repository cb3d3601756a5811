#include "protocol/messages/metadata.h"
#include "sim/cluster/clients.h"

namespace odradek::sim {

using protocol::MetadataRequest;
using protocol::MetadataResponse;

Router::Router(ClusterContext& context, const std::string& name) : context_(context), world_(context.world) {
  for (size_t i = 0; i < context.networks.size(); ++i) {
    channels_.push_back(std::make_unique<Channel>(world_, *context.networks[i], name));
    channels_.back()->brokers_may_be_away = true;
  }
}

void Router::open() {
  for (auto& channel : channels_) {
    channel->open([this] {
      if (on_news) on_news();
    },
                  [] {});
  }
}

Channel* Router::leader(const TopicPartition& tp) {
  auto known = leaders_.find(tp);
  if (known != leaders_.end() && known->second.leader > 0 && channels_[static_cast<size_t>(known->second.leader - 1)]->is_ready()) {
    return channels_[static_cast<size_t>(known->second.leader - 1)].get();
  }
  refresh();
  return nullptr;
}

int32_t Router::epoch(const TopicPartition& tp) {
  auto known = leaders_.find(tp);
  return known == leaders_.end() ? -1 : known->second.epoch;
}

Channel* Router::controller() {
  if (controller_ > 0 && channels_[static_cast<size_t>(controller_ - 1)]->is_ready()) return channels_[static_cast<size_t>(controller_ - 1)].get();
  refresh();
  return nullptr;
}

Channel* Router::any() {
  std::vector<Channel*> ready;
  for (auto& channel : channels_) {
    if (channel->is_ready()) ready.push_back(channel.get());
  }
  return ready.empty() ? nullptr : ready[world_.random.below(ready.size())];
}

size_t Router::calls_out() const {
  size_t calls = 0;
  for (auto& channel : channels_) calls += channel->calls_out();
  return calls;
}

void Router::refresh() {
  if (asking_ || world_.now_ns() - asked_ns_ < 100'000'000) return;
  Channel* channel = any();
  if (channel == nullptr) return;
  asking_ = true;
  asked_ns_ = world_.now_ns();
  MetadataRequest request;
  request.topics = std::nullopt;
  request.allow_auto_topic_creation = false;
  channel->call<MetadataRequest, MetadataResponse>(request, channel->any_version<MetadataRequest>(10), 0, [this](MetadataResponse* response) {
    asking_ = false;
    if (response == nullptr) return;
    controller_ = response->controller_id;
    for (auto& topic : response->topics) {
      if (context_.former_topics.contains(topic.topic_id)) continue;
      for (auto& partition : topic.partitions) {
        Known& known = leaders_[{topic.name.value_or(""), partition.partition_index}];
        // A broker that has not heard for long tells of former leaders.
        if (known.topic == topic.topic_id && partition.leader_epoch < known.epoch) continue;
        known = {topic.topic_id, partition.leader_id, partition.leader_epoch};
      }
    }
    if (on_news) on_news();
  });
}

}  // namespace odradek::sim
