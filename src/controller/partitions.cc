// States of partitions: creation, elections, ISR changes asked for by leaders; producer ids. Source: zookeeper.md §5, interbroker.md
// §5, §6, §12.
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
constexpr int64_t kProducerIdBlock = 1000;

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
    Leadership next = elect_among_online(*record, online_for(tp), options.unclean_election(tp.topic));
    if (next == leadership_of(*record)) continue;
    // A leader that is shutting down keeps what nobody else can take.
    const bool leader_lives = state.live.contains(record->leader) && !state.offline_replicas.contains({record->leader, tp});
    if (next.leader == kNoBroker && leader_lives && contains(record->replicas, record->leader)) continue;
    if (next.recovering && !record->recovering) {
      ++unclean_elections;
      log::warn("controller", "{}: no member of the ISR is live, broker {} becomes leader without having everything", tp.to_string(), next.leader.value);
    }
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

Async<void> Controller::Impl::handle_allocate_producer_ids(protocol::AllocateProducerIdsRequest request,
                                                           Reply<protocol::AllocateProducerIdsResponse> reply) {
  protocol::AllocateProducerIdsResponse response;
  auto broker = state.live.find({request.broker_id});
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
  } else if (broker == state.live.end()) {
    response.error_code = wire(ErrorCode::kBrokerIdNotRegistered);
  } else if (broker->second.epoch != request.broker_epoch) {
    response.error_code = wire(ErrorCode::kStaleBrokerEpoch);
  }
  while (response.error_code == 0) {
    auto node = co_await tree.get(paths::kProducerIdBlock);
    if (!node && node.error() == StoreError::kNoNode) {
      auto made = co_await tree.ensure(paths::kProducerIdBlock);
      if (made) continue;
    }
    if (!node || !in_office()) {
      response.error_code = wire(in_office() ? ErrorCode::kUnknownServerError : ErrorCode::kNotController);
      break;
    }
    auto former = metadata::decode_producer_id_block(node->data);
    if (!former) {
      log::error("controller", "{}", former.error().what);
      response.error_code = wire(ErrorCode::kUnknownServerError);
      break;
    }
    metadata::ProducerIdBlock block;
    block.broker = {request.broker_id};
    block.first = *former ? (*former)->last + 1 : 0;
    if (block.first > INT64_MAX - kProducerIdBlock) {
      log::error("controller", "producer ids are used up");
      response.error_code = wire(ErrorCode::kUnknownServerError);
      break;
    }
    block.last = block.first + kProducerIdBlock - 1;
    Bytes data = metadata::encode_producer_id_block(block);
    auto set = co_await tree.set(paths::kProducerIdBlock, data, node->stat.version);
    if (set) {
      response.producer_id_start = block.first;
      response.producer_id_len = static_cast<int32_t>(kProducerIdBlock);
      break;
    }
    // Another controller, or the own write of before a lost connection: a block that nobody uses does no harm.
    if (set.error() != StoreError::kBadVersion) response.error_code = wire(ErrorCode::kUnknownServerError);
  }
  reply(std::move(response));
}

Async<std::map<TopicPartition, ErrorCode>> Controller::Impl::elect(std::vector<TopicPartition> partitions, bool unclean) {
  std::map<TopicPartition, ErrorCode> results;
  std::vector<StateChange> changes;
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr) {
      results[tp] = ErrorCode::kUnknownTopicOrPartition;
    } else if (state.is_deleting(tp.topic)) {
      results[tp] = ErrorCode::kInvalidTopicException;
    } else if (unclean) {
      if (is_led(*record, online_for(tp))) {
        results[tp] = ErrorCode::kElectionNotNeeded;
        continue;
      }
      Leadership next = elect_among_online(*record, online_for(tp), true);
      if (!record->has_state || next.leader == kNoBroker) {
        results[tp] = ErrorCode::kEligibleLeadersNotAvailable;
      } else {
        if (next.recovering) ++unclean_elections;
        changes.push_back({tp, std::move(next)});
      }
    } else {
      if (record->has_state && !record->replicas.empty() && record->leader == record->replicas.front()) {
        results[tp] = ErrorCode::kElectionNotNeeded;
        continue;
      }
      auto next = elect_preferred(*record, online_for(tp));
      if (!record->has_state || !next) {
        results[tp] = ErrorCode::kPreferredLeaderNotAvailable;
      } else {
        changes.push_back({tp, std::move(*next)});
      }
    }
  }
  if (changes.empty()) co_return results;
  auto errors = co_await write_states(changes);
  RequestBatch batch;
  for (size_t i = 0; i < changes.size(); ++i) {
    results[changes[i].tp] = errors[i] == StoreError::kNone ? ErrorCode::kNone : in_office() ? ErrorCode::kUnknownServerError : ErrorCode::kNotController;
    if (errors[i] != StoreError::kNone) continue;
    batch.leader_and_isr_to_replicas(state, changes[i].tp);
    batch.update_metadata(changes[i].tp);
  }
  if (in_office()) send(batch);
  co_return results;
}

Async<void> Controller::Impl::handle_elect_leaders(protocol::ElectLeadersRequest request, Reply<protocol::ElectLeadersResponse> reply) {
  protocol::ElectLeadersResponse response;
  std::vector<TopicPartition> partitions;
  if (request.topic_partitions) {
    for (const auto& topic : *request.topic_partitions) {
      for (int32_t partition : topic.partitions) partitions.push_back({topic.topic, partition});
    }
  } else {
    partitions = state.all_partitions();
    // A partition that never had a leader is in no broker's metadata, and Kafka elects among what stands there.
    std::erase_if(partitions, [&](const TopicPartition& tp) { return !state.find(tp)->has_state; });
  }
  bool all = !request.topic_partitions.has_value();
  std::map<TopicPartition, ErrorCode> results;
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
    for (const TopicPartition& tp : partitions) results[tp] = ErrorCode::kNotController;
  } else {
    results = co_await elect(partitions, request.election_type == 1);
  }
  for (const auto& [tp, error] : results) {
    // Of all partitions only those where something was to do.
    if (all && (error == ErrorCode::kElectionNotNeeded || error == ErrorCode::kInvalidTopicException)) continue;
    if (response.replica_election_results.empty() || response.replica_election_results.back().topic != tp.topic) {
      response.replica_election_results.emplace_back().topic = tp.topic;
    }
    auto& result = response.replica_election_results.back().partition_result.emplace_back();
    result.partition_id = tp.partition;
    result.error_code = wire(error);
    if (error != ErrorCode::kNone) result.error_message = explain(error);
  }
  reply(std::move(response));
}

// Preferred leaders get their partitions back where a broker leads too few of its own.
Async<void> Controller::Impl::balance_leaders() {
  std::map<BrokerId, std::vector<TopicPartition>> preferred, elsewhere;
  for (const TopicPartition& tp : state.all_partitions()) {
    const PartitionRecord* record = state.find(tp);
    if (!record->has_state || record->replicas.empty() || state.is_deleting(tp.topic)) continue;
    BrokerId first = record->replicas.front();
    preferred[first].push_back(tp);
    if (record->leader != first) elsewhere[first].push_back(tp);
  }
  std::vector<TopicPartition> wanted;
  for (auto& [broker, partitions] : elsewhere) {
    if (!state.is_live(broker)) continue;
    if (partitions.size() * 100 <= preferred[broker].size() * static_cast<size_t>(options.leader_imbalance_percent)) continue;
    for (TopicPartition& tp : partitions) {
      if (!state.find(tp)->is_reassigning()) wanted.push_back(std::move(tp));
    }
  }
  if (!wanted.empty()) {
    log::info("controller", "{} partitions go back to their preferred leaders", wanted.size());
    co_await elect(std::move(wanted), false);
  }
}

// What old tools leave in the tree.
Async<void> Controller::Impl::on_preferred_election_node() {
  auto changed = watch(EventKind::kManualLeaderBalance, [this] { return on_preferred_election_node(); });
  auto exists = co_await tree.exists(paths::kPreferredElection, changed);
  if (!exists || !in_office()) co_return;
  auto node = co_await tree.get(paths::kPreferredElection);
  if (!node || !in_office()) co_return;
  auto partitions = metadata::decode_partition_list(node->data);
  if (partitions) {
    co_await elect(std::move(*partitions), false);
  } else {
    log::error("controller", "{}: {}", paths::kPreferredElection, partitions.error().what);
  }
  if (!in_office()) co_return;
  co_await write(StoreOp::remove(paths::kPreferredElection, metadata::kAnyVersion));
}

}  // namespace odradek::controller
