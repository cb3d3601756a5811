// States of partitions: creation, elections where replicas go and come, ISR changes asked for by leaders. Source: zookeeper.md §5,
// interbroker.md §5, §6, §12.
#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::PartitionStateNode;
using metadata::StoreError;
using metadata::StoreOp;

namespace {
std::vector<BrokerId> broker_ids(const std::vector<int32_t>& values) {
  std::vector<BrokerId> ids;
  for (int32_t value : values) ids.push_back({value});
  return ids;
}
std::vector<int32_t> values(const std::vector<BrokerId>& brokers) {
  std::vector<int32_t> ids;
  for (BrokerId broker : brokers) ids.push_back(broker.value);
  return ids;
}
bool same_members(std::vector<BrokerId> a, std::vector<BrokerId> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return a == b;
}
}  // namespace

Async<std::vector<StoreError>> Controller::Impl::write_states(std::vector<StateChange> changes) {
  std::vector<StoreOp> ops;
  std::vector<PartitionStateNode> nodes;
  for (const StateChange& change : changes) {
    const PartitionRecord* record = state.find(change.tp);
    PartitionStateNode node;
    node.controller_epoch = state.epoch;
    node.leader = change.next.leader;
    node.isr = change.next.isr;
    node.recovering = change.next.recovering;
    node.leader_epoch = {change.is_new ? 0 : record->leader_epoch.value + (change.raise_epoch ? 1 : 0)};
    std::string path = paths::partition_state(change.tp.topic, change.tp.partition);
    Bytes data = metadata::encode_partition_state(node);
    ops.push_back(change.is_new ? StoreOp::create(std::move(path), std::move(data)) : StoreOp::set(std::move(path), std::move(data), record->partition_epoch));
    nodes.push_back(std::move(node));
  }
  auto writes = co_await write_together(std::move(ops));
  std::vector<StoreError> errors;
  std::vector<TopicPartition> stale;
  for (size_t i = 0; i < writes.size(); ++i) {
    errors.push_back(in_office() ? writes[i].error : StoreError::kSessionExpired);
    PartitionRecord* record = state.find(changes[i].tp);
    if (!in_office() || record == nullptr) continue;
    if (writes[i]) {
      record->has_state = true;
      record->leader = nodes[i].leader;
      record->leader_epoch = nodes[i].leader_epoch;
      record->isr = nodes[i].isr;
      record->recovering = nodes[i].recovering;
      record->controller_epoch = nodes[i].controller_epoch;
      record->partition_epoch = changes[i].is_new ? 0 : writes[i].stat.version;
      log::info("state-change", "controller epoch {}: {} has leader {}, leader epoch {}, isr [{}], partition epoch {}", state.epoch, changes[i].tp.to_string(),
                record->leader.value, record->leader_epoch.value, fmt::join(values(record->isr), ","), record->partition_epoch);
    } else if (writes[i].error == StoreError::kBadVersion || writes[i].error == StoreError::kNodeExists) {
      // Perhaps the own write of before a lost connection; the record follows the tree.
      stale.push_back(changes[i].tp);
    } else {
      log::error("controller", "the state of {} could not be written: {}", changes[i].tp.to_string(), name_of(writes[i].error));
    }
  }
  if (stale.empty()) co_return errors;
  co_await read_states(std::move(stale));
  // What stands there is what was wanted: it was the own write.
  for (size_t i = 0; i < changes.size(); ++i) {
    if (errors[i] != StoreError::kBadVersion && errors[i] != StoreError::kNodeExists) continue;
    const PartitionRecord* record = in_office() ? state.find(changes[i].tp) : nullptr;
    if (record == nullptr || !record->has_state || record->controller_epoch != nodes[i].controller_epoch || record->leader != nodes[i].leader ||
        record->leader_epoch != nodes[i].leader_epoch || record->isr != nodes[i].isr || record->recovering != nodes[i].recovering) {
      continue;
    }
    errors[i] = StoreError::kNone;
  }
  co_return errors;
}

void Controller::Impl::note_if_unclean(const TopicPartition& tp, const PartitionRecord& before, const Leadership& next) {
  if (!is_unclean(before, next)) return;
  ++unclean_elections;
  log::warn("controller", "{}: no member of the ISR is left, broker {} becomes leader without having everything", tp.to_string(), next.leader.value);
}

Async<void> Controller::Impl::settle_partitions(std::vector<TopicPartition> partitions) {
  std::sort(partitions.begin(), partitions.end());
  partitions.erase(std::unique(partitions.begin(), partitions.end()), partitions.end());
  std::vector<StateChange> changes;
  RequestBatch batch;
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr || !record->has_state || state.is_deletion_begun(tp.topic)) continue;
    // The list of offline replicas changed, whatever becomes of leader and ISR.
    batch.update_metadata(tp);
    // A leader that is shutting down keeps what nobody in sync can take: it has everything as long as it lives.
    const bool leader_lives = state.live.contains(record->leader) && !state.offline_replicas.contains({record->leader, tp}) &&
                              contains(record->replicas, record->leader);
    Leadership next = elect_among_online(*record, online_for(tp), !leader_lives && options.unclean_election(tp.topic));
    if (next == leadership_of(*record) || (next.leader == kNoBroker && leader_lives)) continue;
    note_if_unclean(tp, *record, next);
    changes.push_back({tp, std::move(next)});
  }
  if (!changes.empty()) {
    const int64_t begin_ms = runtime.clock().monotonic_ms();
    auto errors = co_await write_states(changes);
    if (!in_office()) co_return;
    const auto written = std::count(errors.begin(), errors.end(), StoreError::kNone);
    log::info("controller", "{} of {} partitions have other leaders or ISRs, written in {} ms", written, partitions.size(),
              runtime.clock().monotonic_ms() - begin_ms);
    for (const StateChange& change : changes) batch.leader_and_isr_to_replicas(state, change.tp);
  }
  if (!partitions.empty()) send(batch);
}

// Each state is written on the condition that its node has the version that was told with it: then nothing else stands there, and
// thousands of states need not be read before leaders are elected. Whatever was not told, or is not so any more, is left to who reads.
Async<std::set<TopicPartition>> Controller::Impl::settle_as_told() {
  std::set<TopicPartition> settled;
  if (!options.told) co_return settled;
  const auto told = options.told();
  // Who registered when the former controller may have been dead has perhaps started again, which nobody has looked at (settle_restarted()).
  auto seen = [&](BrokerId broker) {
    auto live = state.live.find(broker);
    return live == state.live.end() || live->second.registered_ms < state.elected_ms - options.silence_ms;
  };
  std::vector<StateChange> changes;
  for (auto& [name, topic] : state.topics) {
    const metadata::TopicImage* known = told->find_topic(name);
    if (known == nullptr || known->id != topic.id || state.is_deleting(name)) continue;
    for (auto& [index, record] : topic.partitions) {
      const metadata::PartitionImage* partition = known->find(index);
      // A leader that recovers, of which nothing is told, is alone in the ISR.
      if (partition == nullptr || partition->isr.size() < 2 || partition->leader_epoch.value < 0 || partition->partition_epoch < 0) continue;
      if (!std::all_of(partition->isr.begin(), partition->isr.end(), seen)) continue;
      PartitionRecord guess = record;
      guess.has_state = true;
      guess.leader = partition->leader;
      guess.leader_epoch = partition->leader_epoch;
      guess.isr = partition->isr;
      guess.controller_epoch = partition->controller_epoch;
      guess.partition_epoch = partition->partition_epoch;
      TopicPartition tp{name, index};
      Leadership next = elect_among_online(guess, online_for(tp), false);
      if (next.leader == kNoBroker || next == leadership_of(guess)) continue;
      record = std::move(guess);
      changes.push_back({std::move(tp), std::move(next)});
    }
  }
  if (changes.empty()) co_return settled;
  const int64_t begin_ms = runtime.clock().monotonic_ms();
  auto errors = co_await write_states(changes);
  if (!in_office()) co_return settled;
  RequestBatch batch;
  for (size_t i = 0; i < changes.size(); ++i) {
    if (errors[i] != StoreError::kNone) {
      if (PartitionRecord* record = state.find(changes[i].tp)) record->has_state = false;  // a wrong guess
      continue;
    }
    batch.leader_and_isr_to_replicas(state, changes[i].tp);
    batch.update_metadata(changes[i].tp);
    settled.insert(changes[i].tp);
  }
  log::info("controller", "{} of {} partitions have other leaders or ISRs, as the former controller had told theirs, written in {} ms", settled.size(),
            changes.size(), runtime.clock().monotonic_ms() - begin_ms);
  if (!settled.empty()) send(batch);
  co_return settled;
}

Async<void> Controller::Impl::settle_restarted() {
  std::vector<StateChange> changes;
  for (const TopicPartition& tp : state.all_partitions()) {
    const PartitionRecord* record = state.find(tp);
    if (!record->has_state || record->replicas.size() < 2) continue;
    auto restarted = [&](BrokerId broker) {
      auto live = state.live.find(broker);
      return live != state.live.end() && live->second.epoch > record->state_zxid;
    };
    if (std::none_of(record->isr.begin(), record->isr.end(), restarted)) continue;
    Leadership next = elect_among_online(*record, [&](BrokerId broker) { return state.is_online(broker, tp) && !restarted(broker); }, false);
    // All of them: one has to go on with what it has, and with an epoch in which nobody else has anything.
    if (next.leader == kNoBroker) next = elect_among_online(*record, online_for(tp), options.unclean_election(tp.topic));
    if (next.leader != kNoBroker) changes.push_back({tp, std::move(next)});
  }
  if (changes.empty()) co_return;
  log::info("controller", "{} partitions have replicas on brokers that started again: new leader epochs", changes.size());
  co_await write_states(std::move(changes));
}

Async<void> Controller::Impl::create_states(std::vector<TopicPartition> partitions) {
  std::vector<StateChange> changes;
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr || record->has_state || state.is_deleting(tp.topic)) continue;
    auto first = elect_first(*record, online_for(tp));
    if (first) changes.push_back({tp, std::move(*first), false, true});
  }
  if (changes.empty()) co_return;
  auto errors = co_await write_states(changes);
  if (!in_office()) co_return;
  RequestBatch batch;
  for (const StateChange& change : changes) {
    batch.leader_and_isr_to_replicas(state, change.tp, true);
    batch.update_metadata(change.tp);
  }
  send(batch);
}

Async<void> Controller::Impl::handle_alter_partition(protocol::AlterPartitionRequest request, int16_t version,
                                                     Reply<protocol::AlterPartitionResponse> reply) {
  protocol::AlterPartitionResponse response;
  BrokerId sender{request.broker_id};
  auto broker = state.live.find(sender);
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
  } else if (broker == state.live.end() || broker->second.epoch != request.broker_epoch) {
    response.error_code = wire(ErrorCode::kStaleBrokerEpoch);
  }
  if (response.error_code != 0) co_return reply(std::move(response));

  struct Asked {
    TopicPartition tp;
    size_t topic;
    size_t partition;
    ErrorCode error = ErrorCode::kNone;
    bool write = false;
  };
  std::vector<Asked> asked;
  std::vector<StateChange> changes;
  for (const auto& topic : request.topics) {
    auto& answer = response.topics.emplace_back();
    answer.topic_name = topic.topic_name;
    answer.topic_id = topic.topic_id;
    std::string name = topic.topic_name;
    ErrorCode unknown = ErrorCode::kNone;
    if (version >= 2) {
      auto known = state.names.find(topic.topic_id);
      if (known != state.names.end()) {
        name = known->second;
      } else {
        unknown = ErrorCode::kUnknownTopicId;
      }
    }
    for (const auto& wanted : topic.partitions) {
      answer.partitions.emplace_back().partition_index = wanted.partition_index;
      Asked one{{name, wanted.partition_index}, response.topics.size() - 1, answer.partitions.size() - 1, unknown};
      // In process nothing is left out that the version does not have.
      std::vector<BrokerId> isr;
      if (version < 3) isr = broker_ids(wanted.new_isr);
      for (const auto& member : wanted.new_isr_with_epochs) {
        if (version >= 3) isr.push_back({member.broker_id});
      }
      bool recovering = wanted.leader_recovery_state != 0;
      PartitionRecord* record = state.find(one.tp);
      auto ineligible = [&](BrokerId member) { return !state.is_online(member, one.tp); };
      if (one.error != ErrorCode::kNone) {
      } else if (record == nullptr || !record->has_state || state.is_deletion_begun(name)) {
        one.error = ErrorCode::kUnknownTopicOrPartition;
      } else if (wanted.partition_epoch > record->partition_epoch || wanted.leader_epoch > record->leader_epoch.value) {
        one.error = ErrorCode::kNotController;  // it knows more than this controller
      } else if (wanted.leader_epoch < record->leader_epoch.value) {
        one.error = ErrorCode::kFencedLeaderEpoch;
      } else if (record->leader == sender && same_members(isr, record->isr) && recovering == record->recovering) {
        // What it asks for holds already.
      } else if (wanted.partition_epoch < record->partition_epoch) {
        one.error = ErrorCode::kInvalidUpdateVersion;
      } else if (record->leader != sender || !contains(isr, sender) || (recovering && isr.size() > 1) || (recovering && !record->recovering)) {
        one.error = ErrorCode::kInvalidRequest;
      } else if (std::any_of(isr.begin(), isr.end(), ineligible) ||
                 std::any_of(isr.begin(), isr.end(), [&](BrokerId member) { return !contains(record->replicas, member); })) {
        one.error = ErrorCode::kIneligibleReplica;
      } else {
        one.write = true;
        changes.push_back({one.tp, {record->leader, isr, recovering}, false});
      }
      asked.push_back(std::move(one));
    }
  }

  std::vector<StoreError> written;
  if (!changes.empty()) written = co_await write_states(changes);
  if (!in_office()) {
    protocol::AlterPartitionResponse lost;
    lost.error_code = wire(ErrorCode::kNotController);
    co_return reply(std::move(lost));
  }
  RequestBatch batch;
  size_t next_written = 0;
  std::vector<TopicPartition> reassigning;
  for (Asked& one : asked) {
    if (one.write) {
      StoreError error = written[next_written++];
      if (error == StoreError::kBadVersion) {
        one.error = ErrorCode::kInvalidUpdateVersion;
      } else if (error != StoreError::kNone) {
        one.error = ErrorCode::kUnknownServerError;
      } else {
        batch.update_metadata(one.tp);
      }
    }
    auto& answer = response.topics[one.topic].partitions[one.partition];
    answer.error_code = wire(one.error);
    const PartitionRecord* record = state.find(one.tp);
    if (one.error != ErrorCode::kNone || record == nullptr) continue;
    answer.leader_id = record->leader.value;
    answer.leader_epoch = record->leader_epoch.value;
    answer.isr = values(record->isr);
    answer.leader_recovery_state = record->recovering ? 1 : 0;
    answer.partition_epoch = record->partition_epoch;
    if (record->is_reassigning()) reassigning.push_back(one.tp);
  }
  reply(std::move(response));
  if (!changes.empty()) send(batch);
  for (const TopicPartition& tp : reassigning) {
    co_await advance_reassignment(tp);
    if (!in_office()) co_return;
  }
}

}  // namespace odradek::controller
