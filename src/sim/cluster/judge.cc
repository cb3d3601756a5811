#include "sim/cluster/judge.h"

#include <algorithm>

#include "metadata/tree/paths.h"
#include "record/batch.h"
#include "replication/replica_manager.h"
#include "storage/log_manager.h"

namespace odradek::sim {

void Judge::look() {
  look_at_tree();
  look_at_controllers();
  look_at_leaders();
  look_at_logs();
}

int32_t Judge::controller() const {
  const auto* node = zookeeper_.tree().find(metadata::paths::kController);
  if (node == nullptr) return -1;
  auto read = metadata::decode_controller(node->data);
  return read ? read->broker.value : -1;
}

std::optional<metadata::PartitionStateNode> Judge::state(const TopicPartition& tp) const {
  const auto* node = zookeeper_.tree().find(metadata::paths::partition_state(tp.topic, tp.partition));
  if (node == nullptr) return std::nullopt;
  auto state = metadata::decode_partition_state(node->data);
  return state ? std::optional(*state) : std::nullopt;
}

std::vector<Judge::State> Judge::states() const {
  std::vector<State> all;
  const metadata::NodeTree& tree = zookeeper_.tree();
  const auto* topics = tree.find(metadata::paths::kTopics);
  if (topics == nullptr) return all;
  for (const std::string& name : topics->children) {
    auto topic = metadata::decode_topic(tree.find(metadata::paths::topic(name))->data);
    if (!topic || tree.find(metadata::paths::delete_topic(name)) != nullptr) continue;
    for (auto& [index, replicas] : topic->partitions) {
      State one;
      one.tp = {name, index};
      one.replicas = replicas;
      one.moving = topic->adding.contains(index) || topic->removing.contains(index);
      if (const auto* node = tree.find(metadata::paths::partition_state(name, index))) {
        auto state = metadata::decode_partition_state(node->data);
        if (state) one.state = *state;
      }
      all.push_back(std::move(one));
    }
  }
  return all;
}

// A state node of a partition: /brokers/topics/<topic>/partitions/<n>/state
void Judge::on_change(const metadata::WatchEvent& event) {
  if (event.kind == metadata::WatchKind::kChildrenChanged || !event.path.starts_with(metadata::paths::kTopics) || !event.path.ends_with("/state")) return;
  if (event.kind == metadata::WatchKind::kDeleted) {
    if (nodes_.erase(event.path) > 0) events_.count(Event::kPartitionGone);
    return;
  }
  const auto* node = zookeeper_.tree().find(event.path);
  auto read = node == nullptr ? Result<metadata::PartitionStateNode>(fail(ErrorCode::kUnknownServerError, "")) : metadata::decode_partition_state(node->data);
  if (!read) return;
  auto [place, is_new] = nodes_.try_emplace(event.path, *read);
  const metadata::PartitionStateNode was = std::exchange(place->second, *read);
  if (is_new) return events_.count(Event::kPartitionOnline);
  if (was.leader != read->leader) {
    last_leader_change_ns_ = world_.now_ns();
    // Who led first after the cut may have had more than the next leader, whose loss nobody has seen yet: not what was promised.
    if (after_cut_) {
      for (auto& [key, tp] : names_) {
        if (event.path == metadata::paths::partition_state(tp.topic, tp.partition)) forget_unpromised(key);
      }
    }
    events_.count(read->leader == kNoBroker ? Event::kPartitionOffline : was.leader == kNoBroker ? Event::kPartitionBack : Event::kLeaderChange);
    if (event.path.starts_with(metadata::paths::topic("__consumer_offsets"))) events_.count(Event::kCoordinatorMoved);
  }
  if (was.isr.size() > read->isr.size()) events_.count(Event::kIsrShrink);
  if (was.isr.size() < read->isr.size()) events_.count(Event::kIsrExpand);
}

void Judge::look_at_tree() {
  auto now = states();
  std::map<TopicPartition, State> seen;
  for (State& one : now) {
    auto before = before_.find(one.tp);
    if (before != before_.end() && before->second.moving && !one.moving) events_.count(Event::kReassignmentDone);
    seen[one.tp] = std::move(one);
  }
  before_ = std::move(seen);
  const int32_t controller_now = controller();
  if (controller_now > 0 && controller_before_ > 0 && controller_now != controller_before_) events_.count(Event::kControllerChange);
  if (controller_now > 0) controller_before_ = controller_now;
}

void Judge::look_at_controllers() {
  for (auto& broker : brokers_) {
    app::Node* node = broker->node();
    if (node == nullptr) continue;
    auto& [life, epoch] = obeyed_[broker->id()];
    const int32_t now = node->replicas().controller_epoch();
    if (life == broker->lives() && now < epoch) {
      return world_.violation(fmt::format("{} obeyed the controller of epoch {} after that of {}", broker->name(), now, epoch));
    }
    life = broker->lives();
    epoch = now;
  }
}

void Judge::look_at_leaders() {
  for (auto& broker : brokers_) {
    app::Node* node = broker->node();
    if (node == nullptr) continue;
    for (const auto& partition : node->replicas().partitions()) {
      if (!partition->is_leader()) continue;
      auto log = partition->log();
      if (log == nullptr) continue;
      const int32_t epoch = partition->leader_epoch().value;
      auto [place, is_new] = leader_of_.try_emplace({{log->topic_id(), partition->name().partition}, epoch}, broker->id());
      if (!is_new && place->second != broker->id()) {
        world_.violation(fmt::format("{} has two leaders in epoch {}: {} and {}", partition->name().to_string(), epoch, place->second, broker->id()));
      }
    }
  }
}

Result<Bytes> Judge::read(const storage::Log& log, int64_t from, int64_t upto) {
  auto found = log.read({from}, 1 << 20, {upto}, true);
  if (!found) return fail(found.error());
  Bytes bytes(static_cast<size_t>(found->slice.size));
  if (bytes.empty()) return bytes;
  auto got = found->slice.file->file().pread(found->slice.position, bytes);
  if (!got) return fail(got.error());
  return bytes;
}

// Against what has stood there before, on any broker.
bool Judge::compare(int broker, const storage::Log& log, int64_t from, int64_t upto) {
  const LogKey key{log.topic_id(), log.name().partition};
  auto& committed = committed_[key];
  names_.try_emplace(key, log.name());
  from = std::max(from, log.log_start_offset().value);
  while (from < upto) {
    auto bytes = read(log, from, upto);
    if (!bytes) {
      world_.violation(fmt::format("broker {}: {} at {}: {}", broker, log.name().to_string(), from, bytes.error().what));
      return false;
    }
    if (bytes->empty()) return true;
    ByteView view = *bytes;
    while (true) {
      auto batch = record::next_batch(view);
      if (!batch || !*batch) {
        if (batch) break;
        world_.violation(fmt::format("broker {}: {} at {}: {}", broker, log.name().to_string(), from, batch.error().what));
        return false;
      }
      const Batch here{batch->next_offset().value, batch->crc(), batch->leader_epoch().value};
      auto [place, is_new] = committed.try_emplace(batch->base_offset().value, here);
      if (!is_new && (place->second.next != here.next || place->second.crc != here.crc || place->second.epoch != here.epoch)) {
        world_.violation(fmt::format("broker {}: {} has another batch at {} (epoch {}, up to {}) than stood there below a high watermark (epoch {}, up to {})", broker,
                                     log.name().to_string(), batch->base_offset().value, here.epoch, here.next, place->second.epoch, place->second.next));
        return false;
      }
      from = here.next;
    }
  }
  return true;
}

bool Judge::is_stray(int broker, const TopicPartition& tp) {
  auto stray = strays_.find({broker, tp});
  if (stray == strays_.end()) return false;
  auto state = nodes_.find(metadata::paths::partition_state(tp.topic, tp.partition));
  const bool in_sync = state != nodes_.end() && std::count(state->second.isr.begin(), state->second.isr.end(), BrokerId{broker}) > 0;
  if (in_sync) strays_.erase(stray);
  return !in_sync;
}

void Judge::look_at_logs() {
  for (auto& broker : brokers_) {
    app::Node* node = sound_node(*broker);
    if (node == nullptr) continue;
    for (const auto& partition : node->replicas().partitions()) {
      auto log = partition->log();
      if (log == nullptr || partition->role() == replication::Role::kNone || partition->role() == replication::Role::kOffline) continue;
      const LogKey key{log->topic_id(), partition->name().partition};
      if (!partition->is_leader() && (after_cut_ || is_stray(broker->id(), partition->name()))) continue;
      Checked& checked = checked_[{broker->id(), key}];
      if (checked.life != broker->lives()) checked = {broker->lives(), 0};
      auto& [life, end] = ends_[{broker->id(), key}];
      const int64_t log_end = log->log_end_offset().value;
      if (life == broker->lives() && log_end < end) events_.count(Event::kTruncation);
      life = broker->lives();
      end = log_end;
      const int64_t upto = std::min(partition->high_watermark().value, log_end);
      if (upto <= checked.upto) continue;
      if (!compare(broker->id(), *log, checked.upto, upto)) return;
      checked.upto = upto;
    }
  }
}

std::string Judge::not_whole() {
  for (auto& broker : brokers_) {
    if (!broker->is_up() || broker->is_busy()) return broker->name() + " does not serve";
  }
  if (std::string missing = not_told(); !missing.empty()) return missing;
  if (const auto* doomed = zookeeper_.tree().find(metadata::paths::kDeleteTopics); doomed != nullptr && !doomed->children.empty()) {
    return *doomed->children.begin() + " is not deleted";
  }
  for (const State& one : states()) {
    const std::string name = one.tp.to_string();
    if (one.moving) return name + ": its replicas are still moved";
    if (one.state.leader.value <= 0) return name + ": no leader";
    if (one.state.isr.size() != one.replicas.size()) return fmt::format("{}: {} of {} replicas in sync", name, one.state.isr.size(), one.replicas.size());
    auto leader = brokers_[static_cast<size_t>(one.state.leader.value - 1)]->node()->replicas().find(one.tp);
    if (leader == nullptr || !leader->is_leader() || leader->log() == nullptr) return fmt::format("{}: broker {} does not know that it leads", name, one.state.leader.value);
    if (leader->high_watermark() != leader->log()->log_end_offset()) {
      return fmt::format("{}: the high watermark {} is not at the end {}", name, leader->high_watermark().value, leader->log()->log_end_offset().value);
    }
    for (BrokerId replica : one.replicas) {
      auto there = brokers_[static_cast<size_t>(replica.value - 1)]->node()->replicas().find(one.tp);
      if (there == nullptr || there->log() == nullptr) return fmt::format("{}: broker {} has no replica", name, replica.value);
      if (there->log()->log_end_offset() != leader->log()->log_end_offset()) return fmt::format("{}: broker {} lags", name, replica.value);
      if (there->high_watermark() != leader->high_watermark()) return fmt::format("{}: broker {} has not heard the high watermark", name, replica.value);
    }
  }
  return "";
}

std::string Judge::not_told() {
  const int32_t controller_now = controller();
  const auto now = states();
  for (auto& broker : brokers_) {
    app::Node* node = broker->node();
    if (node == nullptr) return broker->name() + " does not serve";
    const auto image = node->image().current();
    if (image->controller().value != controller_now) return fmt::format("{} takes {} for the controller, not {}", broker->name(), image->controller().value, controller_now);
    if (image->brokers().size() != brokers_.size()) return fmt::format("{} knows {} brokers", broker->name(), image->brokers().size());
    for (const State& one : now) {
      const auto* told = image->find_partition(one.tp.topic, one.tp.partition);
      if (told == nullptr) return fmt::format("{} has not heard of {}", broker->name(), one.tp.to_string());
      if (told->leader == one.state.leader && told->leader_epoch == one.state.leader_epoch && told->isr == one.state.isr) continue;
      return fmt::format("{} was told last that {} is led by {} in epoch {}, not by {} in {}", broker->name(), one.tp.to_string(), told->leader.value,
                         told->leader_epoch.value, one.state.leader.value, one.state.leader_epoch.value);
    }
  }
  return "";
}

std::string Judge::not_led() {
  for (const State& one : states()) {
    const std::string name = one.tp.to_string();
    if (one.state.leader.value <= 0) return name + ": no leader";
    auto& broker = brokers_[static_cast<size_t>(one.state.leader.value - 1)];
    auto leader = broker->node() == nullptr ? nullptr : broker->node()->replicas().find(one.tp);
    if (leader == nullptr || !leader->is_leader()) return fmt::format("{}: broker {} does not lead it", name, one.state.leader.value);
  }
  return "";
}

void Judge::on_power_cut_of_all() {
  after_cut_ = true;
  for (auto& [key, committed] : committed_) forget_unpromised(key);
}

void Judge::forget_unpromised(const LogKey& key) {
  const TopicPartition& tp = names_[key];
  TopicModel* topic = model_.find(tp.topic);
  PartitionModel* partition = topic != nullptr && topic->id == key.first ? model_.find(tp.topic, tp.partition) : nullptr;
  auto& committed = committed_[key];
  committed.erase(committed.lower_bound(partition == nullptr ? 0 : partition->flushed_acked), committed.end());
}

void Judge::on_well() {
  if (!std::exchange(after_cut_, false)) return;
  std::map<TopicPartition, std::vector<BrokerId>> replicas;
  for (State& one : states()) replicas[one.tp] = std::move(one.replicas);
  for (auto& broker : brokers_) {
    for (TopicPartition& tp : broker->logs_on_disk()) {
      auto known = replicas.find(tp);
      const bool follows = known != replicas.end() && std::count(known->second.begin(), known->second.end(), BrokerId{broker->id()}) > 0;
      if (!follows) strays_.insert({broker->id(), std::move(tp)});
    }
  }
}

void Judge::describe() {
  world_.trace("controller {}", controller());
  for (const State& one : states()) {
    std::string line = fmt::format("{}: leader {} epoch {}{} isr", one.tp.to_string(), one.state.leader.value, one.state.leader_epoch.value, one.moving ? " moving" : "");
    for (BrokerId id : one.state.isr) line += fmt::format(" {}", id.value);
    for (auto& broker : brokers_) {
      app::Node* node = broker->node();
      auto partition = node == nullptr ? nullptr : node->replicas().find(one.tp);
      if (partition == nullptr || partition->log() == nullptr) continue;
      line += fmt::format(" | {} {} epoch {} (partition {}) of {}: high watermark {} end {} isr", broker->name(), partition->is_leader() ? "leads in" : "follows in",
                          partition->leader_epoch().value, partition->partition_epoch(), partition->leader().value, partition->high_watermark().value,
                          partition->log()->log_end_offset().value);
      for (BrokerId id : partition->isr()) line += fmt::format(" {}", id.value);
    }
    world_.trace("{}", line);
  }
}

void Judge::check_all() {
  look();
  for (const State& one : states()) {
    if (world_.failed()) return;
    for (BrokerId replica : one.replicas) {
      auto& broker = brokers_[static_cast<size_t>(replica.value - 1)];
      auto partition = broker->node()->replicas().find(one.tp);
      if (partition == nullptr || partition->log() == nullptr) continue;
      auto log = partition->log();
      const int64_t end = log->log_end_offset().value;
      if (!compare(broker->id(), *log, 0, end)) return;
      PartitionModel* model = model_.find(one.tp.topic, one.tp.partition);
      if (model == nullptr || replica != one.state.leader) continue;
      if (model_.find(one.tp.topic)->id != log->topic_id()) continue;
      if (!model->known.empty() && model->known.rbegin()->first >= end) {
        return world_.violation(fmt::format("{}: offset {} was acknowledged or seen, and the log ends at {}", one.tp.to_string(), model->known.rbegin()->first, end));
      }
      for (int64_t position = log->log_start_offset().value; position < end && !world_.failed();) {
        auto bytes = read(*log, position, end);
        if (!bytes || bytes->empty()) return world_.violation(fmt::format("{}: nothing to read at {} of {}", one.tp.to_string(), position, end));
        position = model_.on_fetched(one.tp.topic, one.tp.partition, position, *bytes, "the reckoning");
      }
    }
  }
}

}  // namespace odradek::sim
