#include "controller/topic_admin.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <set>

#include "base/log.h"
#include "base/random.h"
#include "config/topic_config.h"
#include "controller/assignment.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/tree_client.h"
#include "metadata/tree/znode_json.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::Async;
using metadata::kAnyVersion;
using metadata::StoreError;
using metadata::StoreOp;

namespace {

using Assignment = std::map<int32_t, std::vector<BrokerId>>;

// What a failed call of the store means for the one who asked.
template <class Outcome>
Outcome& refuse(Outcome& outcome, ErrorCode code, std::string message) {
  outcome.error = code;
  outcome.message = std::move(message);
  return outcome;
}
template <class Outcome>
Outcome& refuse(Outcome& outcome, const Error& error) {
  return refuse(outcome, error.code, error.what);
}

// No node of the tree names more partitions than this, and no request may make the broker hold more.
constexpr int64_t kMaxPartitions = 100'000;
// After so much, counted in partitions, other tasks of the executor have their turn. A topic costs as much as some partitions.
constexpr size_t kWorkOfATurn = 10'000;
constexpr size_t kWorkOfATopic = 100;

std::string join(const std::vector<BrokerId>& brokers) {
  std::string text;
  for (BrokerId id : brokers) text += fmt::format("{}{}", text.empty() ? "" : ", ", id.value);
  return text;
}

// The names of topics meet in metric names, where . and _ are the same.
std::string collision_form(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

Result<Assignment> check_assignment(const NewTopic& topic) {
  Assignment assignment;
  for (const auto& [index, replicas] : topic.assignment) {
    if (!assignment.try_emplace(index, replicas).second) {
      return fail(ErrorCode::kInvalidReplicaAssignment, fmt::format("Duplicate partition {} in the replica assignment.", index));
    }
    std::set<BrokerId> distinct(replicas.begin(), replicas.end());
    if (distinct.size() != replicas.size()) {
      return fail(ErrorCode::kInvalidReplicaAssignment, fmt::format("Duplicate replica assignment found: {} -> {}", index, join(replicas)));
    }
    if (replicas.empty() || distinct.begin()->value < 0) {
      return fail(ErrorCode::kInvalidReplicaAssignment, fmt::format("Missing or negative broker in the replica assignment of partition {}.", index));
    }
  }
  int32_t expected = 0;
  for (const auto& [index, replicas] : assignment) {
    if (index != expected++) return fail(ErrorCode::kInvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence");
    if (replicas.size() != assignment.begin()->second.size()) {
      return fail(ErrorCode::kInvalidReplicaAssignment, "All partitions should have the same number of replicas");
    }
  }
  return assignment;
}

}  // namespace

struct TopicAdmin::Impl : std::enable_shared_from_this<TopicAdmin::Impl> {
  Impl(base::Runtime& r, base::Executor& e, metadata::Store& store, metadata::ImageHolder& i, config::ConfigHolder& c, bool fewer)
      : runtime(r), executor(e), tree(r, e, store), image(i), config(c), fewer_replicas(fewer) {}

  // One piece of work at a time: two requests for one topic do not meet.
  void enqueue(UniqueFunction<Async<void>()> work) {
    executor.post([self = shared_from_this(), work = std::move(work)]() mutable {
      self->queue.push_back(std::move(work));
      if (std::exchange(self->running, true)) return;
      metadata::spawn(self->run(self));
    });
  }
  Async<void> run([[maybe_unused]] std::shared_ptr<Impl> self) {
    while (!queue.empty()) {
      UniqueFunction<Async<void>()> work = std::move(queue.front());
      queue.pop_front();
      co_await work();
    }
    running = false;
  }

  Async<void> let_others() {
    auto later = [this](UniqueFunction<void(bool)> go_on) { executor.post([go_on = std::move(go_on)]() mutable { go_on(true); }); };
    co_await metadata::callback<bool>(std::move(later));
  }

  std::vector<BrokerRack> live_brokers() const {
    std::vector<BrokerRack> brokers;
    auto now = image.current();
    for (const auto& broker : now->brokers()) brokers.push_back({broker.id, broker.rack});
    return brokers;
  }

  Async<std::vector<TopicCreated>> create_all(std::vector<NewTopic> topics, bool validate_only) {
    std::vector<TopicCreated> results(topics.size());
    std::map<std::string, int> count;
    for (const NewTopic& topic : topics) ++count[topic.name];
    auto existing = co_await tree.children(paths::kTopics);
    if (!existing && existing.error() != StoreError::kNoNode) {
      for (TopicCreated& result : results) refuse(result, metadata::to_error(existing.error(), "list topics"));
      co_return results;
    }
    // After the topics: one that has just gone may have left its marker, with which the controller ends what it began.
    auto doomed = co_await tree.children(paths::kDeleteTopics);
    if (!doomed && doomed.error() != StoreError::kNoNode) {
      for (TopicCreated& result : results) refuse(result, metadata::to_error(doomed.error(), "list deletions"));
      co_return results;
    }
    std::set<std::string> marked;
    if (doomed) marked.insert(doomed->names.begin(), doomed->names.end());
    std::set<std::string> names;
    std::map<std::string, std::string> by_collision_form;
    if (existing) {
      for (std::string& name : existing->names) {
        by_collision_form[collision_form(name)] = name;
        names.insert(std::move(name));
      }
    }
    size_t work = 0;
    for (size_t i = 0; i < topics.size(); ++i) {
      const NewTopic& topic = topics[i];
      TopicCreated& result = results[i];
      // What is refused or only checked waits for nothing: others get their turn all the same.
      if (work > kWorkOfATurn) {
        work = 0;
        co_await let_others();
      }
      if (count[topic.name] > 1) {
        refuse(result, ErrorCode::kInvalidRequest, "Found multiple entries for this topic.");
      } else if (std::string fault = topic_name_fault(topic.name); !fault.empty()) {
        refuse(result, ErrorCode::kInvalidTopicException, std::move(fault));
      } else if (topic.name == kKraftMetadataTopic) {
        refuse(result, ErrorCode::kInvalidRequest, fmt::format("Creation of internal topic {} is prohibited.", topic.name));
      } else if (names.contains(topic.name)) {
        refuse(result, ErrorCode::kTopicAlreadyExists, fmt::format("Topic '{}' already exists.", topic.name));
      } else if (marked.contains(topic.name)) {
        refuse(result, ErrorCode::kTopicAlreadyExists, fmt::format("Topic '{}' is marked for deletion.", topic.name));
      } else if (auto other = by_collision_form.find(collision_form(topic.name)); other != by_collision_form.end()) {
        refuse(result, ErrorCode::kInvalidTopicException, fmt::format("Topic '{}' collides with existing topics: {}", topic.name, other->second));
      } else {
        co_await create_one(topic, validate_only, result);
        if (result.error == ErrorCode::kNone && !validate_only) {
          names.insert(topic.name);
          by_collision_form[collision_form(topic.name)] = topic.name;
        }
      }
      work += kWorkOfATopic + static_cast<size_t>(std::max(result.partitions, 0));
    }
    co_return results;
  }

  // Name and uniqueness are checked.
  Async<void> create_one(const NewTopic& topic, bool validate_only, TopicCreated& result) {
    auto broker_config = config.current();
    for (const auto& [name, value] : topic.configs) {
      if (value) {
        result.configs[name] = *value;
      } else {
        refuse(result, ErrorCode::kInvalidConfig, "Null value not supported for topic configs: " + name);
        co_return;
      }
    }
    Assignment assignment;
    if (!topic.assignment.empty()) {
      if (topic.partitions != -1 || topic.replication_factor != -1) {
        refuse(result, ErrorCode::kInvalidRequest,
               "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.");
        co_return;
      }
      auto checked = check_assignment(topic);
      if (!checked) {
        refuse(result, checked.error());
        co_return;
      }
      assignment = std::move(*checked);
    } else {
      int32_t partitions = topic.partitions == -1 ? broker_config->get_int("num.partitions") : topic.partitions;
      if (partitions > kMaxPartitions) {
        refuse(result, ErrorCode::kInvalidPartitions, fmt::format("A topic has at most {} partitions.", kMaxPartitions));
        co_return;
      }
      int32_t replicas = topic.replication_factor == -1 ? broker_config->get_int("default.replication.factor") : topic.replication_factor;
      auto assigned = assign_replicas(live_brokers(), partitions, replicas, runtime.random());
      if (!assigned) {
        refuse(result, assigned.error());
        co_return;
      }
      for (size_t i = 0; i < assigned->size(); ++i) assignment[static_cast<int32_t>(i)] = std::move((*assigned)[i]);
    }
    if (auto valid = config::validate_topic_config(*broker_config, result.configs); !valid) {
      refuse(result, valid.error());
      co_return;
    }
    result.partitions = static_cast<int32_t>(assignment.size());
    result.replication_factor = static_cast<int16_t>(assignment.begin()->second.size());
    if (validate_only) co_return;

    config::Properties kafka, own;
    for (const auto& [name, value] : result.configs) {
      const config::ConfigKey* key = config::find_topic_key(name);
      (key != nullptr && key->ours ? own : kafka)[name] = value;
    }
    // The configs first: when the topic appears, its settings are there.
    std::string config_path = paths::topic_config(topic.name);
    Bytes config_data = metadata::encode_config(kafka);
    auto written = co_await write_config(std::move(config_path), std::move(config_data));
    if (written != StoreError::kNone) {
      refuse(result, metadata::to_error(written, "write the configs of " + topic.name));
      co_return;
    }
    std::string own_path = paths::own_topic_config(topic.name);
    if (!own.empty()) {
      Bytes own_data = metadata::encode_config(own);
      written = co_await write_config(std::move(own_path), std::move(own_data));
    } else {
      auto removed = co_await tree.remove(std::move(own_path));
      written = removed || removed.error() == StoreError::kNoNode ? StoreError::kNone : removed.error();
    }
    if (written != StoreError::kNone) {
      refuse(result, metadata::to_error(written, "write the configs of " + topic.name));
      co_return;
    }
    metadata::TopicNode node;
    node.id = base::random_uuid(runtime.random());
    node.partitions = std::move(assignment);
    Bytes data = metadata::encode_topic(node);
    auto created = co_await tree.create(paths::topic(topic.name), data);
    if (!created && created.error() == StoreError::kNodeExists) {
      // By another broker meanwhile, or by the own hand before a lost connection.
      auto present = co_await tree.get(paths::topic(topic.name));
      if (!present || present->data != data) {
        refuse(result, ErrorCode::kTopicAlreadyExists, fmt::format("Topic '{}' already exists.", topic.name));
        co_return;
      }
    } else if (!created) {
      refuse(result, metadata::to_error(created.error(), "create topic " + topic.name));
      co_return;
    }
    result.id = *node.id;
    log::info("controller", "topic {} created: id {}, {} partitions, {} replicas each", topic.name, result.id.to_string(), result.partitions,
              result.replication_factor);
  }

  // As a 3.9 broker: set under a check of /controller; create if there is no node.
  Async<StoreError> write_config(std::string path, Bytes data) {
    for (;;) {
      std::vector<StoreOp> ops;
      auto controller = co_await tree.exists(paths::kController);
      if (controller) ops.push_back(StoreOp::check(paths::kController, controller->version));
      auto checks = static_cast<int32_t>(ops.size());
      ops.push_back(StoreOp::set(path, data, kAnyVersion));
      auto set = co_await tree.multi(std::move(ops));
      if (set) co_return StoreError::kNone;
      if (set.error().op >= 0 && set.error().op < checks) continue;
      if (set.error().error != StoreError::kNoNode) co_return set.error().error;
      auto parent = co_await tree.ensure(std::string(metadata::parent_of(path)));
      if (!parent) co_return parent.error();
      auto created = co_await tree.create(path, data);
      if (created) co_return StoreError::kNone;
      if (created.error() != StoreError::kNodeExists) co_return created.error();
    }
  }

  Async<std::vector<TopicOutcome>> delete_all(std::vector<std::string> topics) {
    std::vector<TopicOutcome> results(topics.size());
    bool enabled = config.current()->get_bool("delete.topic.enable");
    for (size_t i = 0; i < topics.size(); ++i) {
      if (!enabled) {
        refuse(results[i], ErrorCode::kTopicDeletionDisabled, "Topic deletion is disabled.");
        continue;
      }
      // What is no name of a topic may be the path of a node below one: "a/partitions" would mark the topic "a".
      if (!topic_name_fault(topics[i]).empty()) {
        results[i].error = ErrorCode::kUnknownTopicOrPartition;
        continue;
      }
      auto topic = co_await tree.exists(paths::topic(topics[i]));
      if (!topic) {
        if (topic.error() == StoreError::kNoNode) {
          results[i].error = ErrorCode::kUnknownTopicOrPartition;
        } else {
          refuse(results[i], metadata::to_error(topic.error(), "read topic " + topics[i]));
        }
        continue;
      }
      auto marked = co_await tree.ensure(paths::delete_topic(topics[i]));
      if (!marked) refuse(results[i], metadata::to_error(marked.error(), "mark topic " + topics[i]));
    }
    co_return results;
  }

  Async<std::vector<TopicOutcome>> enlarge_all(std::vector<NewPartitions> topics, bool validate_only) {
    std::vector<TopicOutcome> results(topics.size());
    std::map<std::string, int> count;
    for (const NewPartitions& topic : topics) ++count[topic.topic];
    for (size_t i = 0; i < topics.size(); ++i) {
      if (count[topics[i].topic] > 1) {
        refuse(results[i], ErrorCode::kInvalidRequest, "Duplicate topic in request.");
      } else {
        co_await enlarge_one(topics[i], validate_only, results[i]);
      }
    }
    co_return results;
  }

  Async<void> enlarge_one(const NewPartitions& wanted, bool validate_only, TopicOutcome& result) {
    if (!topic_name_fault(wanted.topic).empty()) {  // see delete_all()
      refuse(result, ErrorCode::kUnknownTopicOrPartition, fmt::format("The topic '{}' does not exist.", wanted.topic));
      co_return;
    }
    auto data = co_await tree.get(paths::topic(wanted.topic));
    if (!data) {
      if (data.error() == StoreError::kNoNode) {
        refuse(result, ErrorCode::kUnknownTopicOrPartition, fmt::format("The topic '{}' does not exist.", wanted.topic));
      } else {
        refuse(result, metadata::to_error(data.error(), "read topic " + wanted.topic));
      }
      co_return;
    }
    auto marked = co_await tree.exists(paths::delete_topic(wanted.topic));
    if (marked) {
      refuse(result, ErrorCode::kInvalidTopicException, "The topic is queued for deletion.");
      co_return;
    }
    auto node = metadata::decode_topic(data->data);
    if (!node || node->partitions.empty()) {
      refuse(result, ErrorCode::kUnknownServerError, node ? "the topic has no partitions" : node.error().what);
      co_return;
    }
    if (!node->adding.empty() || !node->removing.empty()) {
      refuse(result, ErrorCode::kReassignmentInProgress, fmt::format("A partition reassignment is in progress for the topic '{}'.", wanted.topic));
      co_return;
    }
    auto present = static_cast<int32_t>(node->partitions.size());
    if (wanted.total > kMaxPartitions) {
      refuse(result, ErrorCode::kInvalidPartitions, fmt::format("A topic has at most {} partitions.", kMaxPartitions));
      co_return;
    }
    if (wanted.total <= present) {
      refuse(result, ErrorCode::kInvalidPartitions,
             wanted.total == present ? fmt::format("Topic already has {} partitions.", present)
                       : fmt::format("Topic currently has {} partitions, which is higher than the requested {}.", present, wanted.total));
      co_return;
    }
    const int32_t more = wanted.total - present;
    auto brokers = live_brokers();
    const std::vector<BrokerId>& first = node->partitions.begin()->second;
    std::vector<std::vector<BrokerId>> added;
    if (wanted.assignment) {
      std::set<BrokerId> known;
      for (const BrokerRack& broker : brokers) known.insert(broker.id);
      std::vector<BrokerId> unknown;
      for (const auto& replicas : *wanted.assignment) {
        for (BrokerId id : replicas) {
          if (known.insert(id).second) unknown.push_back(id);  // is told once
        }
      }
      if (!unknown.empty()) {
        refuse(result, ErrorCode::kInvalidReplicaAssignment, fmt::format("Unknown broker(s) in replica assignment: {}.", join(unknown)));
        co_return;
      }
      if (wanted.assignment->size() != static_cast<size_t>(more)) {
        refuse(result, ErrorCode::kInvalidReplicaAssignment,
               fmt::format("Increasing the number of partitions by {} but {} assignments provided.", more, wanted.assignment->size()));
        co_return;
      }
      int32_t index = present;
      for (const auto& replicas : *wanted.assignment) {
        const int32_t partition = index++;
        std::set<BrokerId> distinct(replicas.begin(), replicas.end());
        if (replicas.empty()) {
          refuse(result, ErrorCode::kInvalidReplicaAssignment, fmt::format("Cannot have replication factor of 0 for partition id {}.", partition));
        } else if (distinct.size() != replicas.size()) {
          refuse(result, ErrorCode::kInvalidReplicaAssignment,
                 fmt::format("Duplicate brokers not allowed in replica assignment: {} for partition id {}.", join(replicas), partition));
        } else if (replicas.size() != first.size()) {
          refuse(result, ErrorCode::kInvalidReplicaAssignment, "Inconsistent replication factor between partitions.");
        }
        if (result.error != ErrorCode::kNone) co_return;
      }
      added = *wanted.assignment;
    } else {
      // The pattern of the topic goes on where it stopped.
      std::vector<BrokerId> ids;
      for (const BrokerRack& broker : brokers) ids.push_back(broker.id);
      std::sort(ids.begin(), ids.end());
      auto at = std::find(ids.begin(), ids.end(), first.empty() ? kNoBroker : first.front());
      size_t start = at == ids.end() ? 0 : static_cast<size_t>(at - ids.begin());
      auto assigned = assign_replicas(brokers, more, static_cast<int32_t>(first.size()), runtime.random(), start, present);
      if (!assigned) {
        refuse(result, assigned.error());
        co_return;
      }
      added = std::move(*assigned);
    }
    if (validate_only) co_return;
    for (int32_t i = 0; i < more; ++i) node->partitions[present + i] = std::move(added[static_cast<size_t>(i)]);
    Bytes written = metadata::encode_topic(*node);
    auto set = co_await tree.set(paths::topic(wanted.topic), written, data->stat.version);
    if (!set && set.error() == StoreError::kBadVersion) {
      // The own write before a lost connection; or another one, of a reassignment perhaps, which must not be undone.
      auto now = co_await tree.get(paths::topic(wanted.topic));
      if (now && now->data == written) co_return;
      co_return co_await enlarge_one(wanted, validate_only, result);
    }
    if (!set) refuse(result, metadata::to_error(set.error(), "write topic " + wanted.topic));
  }

  NewTopic auto_topic(const std::string& name) {
    auto now = config.current();
    NewTopic topic;
    topic.name = name;
    if (name == kGroupMetadataTopic) {
      topic.partitions = now->get_int("offsets.topic.num.partitions");
      topic.replication_factor = static_cast<int16_t>(now->get_int("offsets.topic.replication.factor"));
      topic.configs = {{"compression.type", "producer"}, {"cleanup.policy", "compact"}};
      topic.configs["segment.bytes"] = std::to_string(now->get_int("offsets.topic.segment.bytes"));
    } else if (name == kTransactionStateTopic) {
      topic.partitions = now->get_int("transaction.state.log.num.partitions");
      topic.replication_factor = static_cast<int16_t>(now->get_int("transaction.state.log.replication.factor"));
      topic.configs = {{"compression.type", "uncompressed"}, {"cleanup.policy", "compact"}, {"unclean.leader.election.enable", "false"}};
      topic.configs["min.insync.replicas"] = std::to_string(now->get_int("transaction.state.log.min.isr"));
      topic.configs["segment.bytes"] = std::to_string(now->get_int("transaction.state.log.segment.bytes"));
    }
    auto live = static_cast<int16_t>(std::min<size_t>(live_brokers().size(), INT16_MAX));
    if (is_internal_topic(name) && fewer_replicas && live > 0 && live < topic.replication_factor) {
      if (warned.insert(name).second) {
        log::warn("controller", "topic {} is created with {} of {} replicas: there are no more brokers", name, live, topic.replication_factor);
      }
      topic.replication_factor = live;
    }
    return topic;
  }

  base::Runtime& runtime;
  base::Executor& executor;
  metadata::TreeClient tree;
  metadata::ImageHolder& image;
  config::ConfigHolder& config;
  const bool fewer_replicas;

  std::deque<UniqueFunction<Async<void>()>> queue;
  bool running = false;
  std::set<std::string> warned;

  base::Mutex creating_mutex;
  std::map<std::string, std::vector<UniqueFunction<void(ErrorCode)>>> creating GUARDED_BY(creating_mutex);
};

TopicAdmin::TopicAdmin(base::Runtime& runtime, base::Executor& metadata, metadata::Store& store, metadata::ImageHolder& image,
                       config::ConfigHolder& config, bool fewer_replicas_for_internal_topics)
    : impl_(std::make_shared<Impl>(runtime, metadata, store, image, config, fewer_replicas_for_internal_topics)) {}
TopicAdmin::~TopicAdmin() = default;

void TopicAdmin::create_topics(std::vector<NewTopic> topics, bool validate_only, UniqueFunction<void(std::vector<TopicCreated>)> done) {
  impl_->enqueue([impl = impl_.get(), topics = std::move(topics), validate_only, done = std::move(done)]() mutable -> Async<void> {
    auto results = co_await impl->create_all(std::move(topics), validate_only);
    done(std::move(results));
  });
}

void TopicAdmin::delete_topics(std::vector<std::string> topics, UniqueFunction<void(std::vector<TopicOutcome>)> done) {
  impl_->enqueue([impl = impl_.get(), topics = std::move(topics), done = std::move(done)]() mutable -> Async<void> {
    auto results = co_await impl->delete_all(std::move(topics));
    done(std::move(results));
  });
}

void TopicAdmin::create_partitions(std::vector<NewPartitions> topics, bool validate_only, UniqueFunction<void(std::vector<TopicOutcome>)> done) {
  impl_->enqueue([impl = impl_.get(), topics = std::move(topics), validate_only, done = std::move(done)]() mutable -> Async<void> {
    auto results = co_await impl->enlarge_all(std::move(topics), validate_only);
    done(std::move(results));
  });
}

void TopicAdmin::auto_create(const std::string& topic, UniqueFunction<void(ErrorCode)> done) {
  {
    base::MutexLock lock(impl_->creating_mutex);
    auto& waiting = impl_->creating[topic];
    waiting.push_back(std::move(done));
    if (waiting.size() > 1) return;
  }
  impl_->enqueue([impl = impl_.get(), topic]() -> Async<void> {
    std::vector<NewTopic> one;
    one.push_back(impl->auto_topic(topic));
    auto results = co_await impl->create_all(std::move(one), false);
    ErrorCode error = results[0].error == ErrorCode::kTopicAlreadyExists ? ErrorCode::kNone : results[0].error;
    if (error != ErrorCode::kNone) log::warn("controller", "topic {} could not be created: {}", topic, results[0].message);
    std::vector<UniqueFunction<void(ErrorCode)>> waiting;
    {
      base::MutexLock lock(impl->creating_mutex);
      waiting = std::move(impl->creating[topic]);
      impl->creating.erase(topic);
    }
    for (auto& reply : waiting) reply(error);
  });
}

}  // namespace odradek::controller
