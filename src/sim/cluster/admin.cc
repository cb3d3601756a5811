#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_records.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/elect_leaders.h"
#include "protocol/messages/incremental_alter_configs.h"
#include "protocol/messages/metadata.h"
#include "sim/cluster/clients.h"

namespace odradek::sim {
namespace {

using namespace protocol;

constexpr int kNames = 5;
// No request to the former topic of a name can be on its way any more.
constexpr int64_t kQuarantineMs = 20'000;

class Admin final : public Client {
 public:
  explicit Admin(ClusterContext& context) : context_(context), world_(context.world), model_(context.model), router_(context, "admin") {}

  void start() override {
    router_.open();
    later(1, 100);
  }
  bool is_idle() const override { return creating_.empty() && deleting_.empty() && widening_.empty() && !context_.throttled && !out_; }

 private:
  void later(int64_t low_ms, int64_t high_ms) {
    world_.after_ms(world_.random.between(low_ms, high_ms), [this] { act(); });
  }
  // To the controller; whatever comes, act() goes on from there.
  template <class Response, class Request, class Then>
  void ask(const Request& request, int16_t least, Then then) {
    Channel* channel = router_.controller();
    if (channel == nullptr) return later(100, 400);
    send<Response>(*channel, request, channel->any_version<Request>(least), std::move(then));
  }
  template <class Response, class Request, class Then>
  void send(Channel& channel, const Request& request, int16_t version, Then then) {
    out_ = true;
    channel.call<Request, Response>(request, version, 5'000, [this, then = std::move(then)](Response* response) mutable {
      out_ = false;
      if (response == nullptr) {
        router_.refresh();
        return later(100, 500);
      }
      then(*response);
    });
  }
  // Errors that a cluster in trouble may give.
  bool passes(ErrorCode error, const char* what) {
    switch (error) {
      case ErrorCode::kNone: return true;
      case ErrorCode::kNotController: router_.refresh(); return true;
      case ErrorCode::kRequestTimedOut:
      case ErrorCode::kInvalidReplicationFactor:
      case ErrorCode::kUnknownTopicOrPartition:
      case ErrorCode::kUnknownTopicId:
      case ErrorCode::kTopicAlreadyExists:
      case ErrorCode::kReassignmentInProgress:
      case ErrorCode::kNoReassignmentInProgress:
      case ErrorCode::kInvalidReplicaAssignment:  // a broker of it is away
      case ErrorCode::kPreferredLeaderNotAvailable:
      case ErrorCode::kElectionNotNeeded:
      case ErrorCode::kLeaderNotAvailable:
      case ErrorCode::kInvalidPartitions:  // an earlier try had added them
      case ErrorCode::kBrokerNotAvailable: return true;
      default: world_.violation(fmt::format("admin: {}: {}", what, name_of(error))); return false;
    }
  }

  void act() {
    if (out_) return;
    // A deletion may wait for a move that the throttle holds up.
    if (context_.throttled && (context_.calm || context_.ending)) return throttle(std::nullopt);
    // One that got no answer may be carried out yet, when its broker finds ZooKeeper again.
    if (unanswered_throttles_ > 0 && context_.calm && !context_.ending && world_.now_ms() >= next_removal_ms_) {
      next_removal_ms_ = world_.now_ms() + 5'000;
      return throttle(std::nullopt);
    }
    // What was begun is brought to its end first.
    if (!creating_.empty()) return create();
    if (!deleting_.empty()) return remove();
    if (!widening_.empty()) return widen();
    if (context_.throttled && world_.random.chance(20)) return throttle(std::nullopt);
    if (model_.find("kept") == nullptr) return begin_creation("kept");
    if (context_.ending) return;
    if (context_.calm) return later(200, 2'000);
    SeededRandom& random = world_.random;
    TopicModel* topic = model_.any_topic();
    size_t living = 0;
    for (auto& [name, one] : model_.topics) living += one.dying ? 0 : 1;
    if (living < 3 || random.chance(10)) {
      std::string name = "t" + std::to_string(random.below(kNames));
      if (!model_.topics.contains(name) && !context_.holds_log(name)) return begin_creation(name);
    }
    const auto kind = random.below(10);
    if (kind < 1 && topic->name != "kept") {
      deleting_ = topic->name;
      deleted_id_ = topic->id;
      topic->dying = true;
      return remove();
    }
    if (kind < 2 && topic->partitions.size() < 5) {
      widening_ = topic->name;
      wanted_ = static_cast<int32_t>(topic->partitions.size()) + 1;
      return widen();
    }
    if (kind < 5) return reassign(*topic);
    if (kind < 7) return elect(*topic);
    if (kind < 8) return delete_records(*topic);
    if (kind < 9 && !context_.throttled) return throttle(world_.random.between(100, 5'000));
    later(500, 3'000);
  }

  std::vector<int32_t> some_brokers(size_t count) {
    std::vector<int32_t> brokers;
    for (size_t i = 0; i < context_.networks.size(); ++i) brokers.push_back(static_cast<int32_t>(i + 1));
    for (size_t i = 0; i + 1 < brokers.size(); ++i) std::swap(brokers[i], brokers[i + world_.random.below(brokers.size() - i)]);
    brokers.resize(count);
    return brokers;
  }

  void begin_creation(const std::string& name) {
    creating_ = name;
    wanted_ = static_cast<int32_t>(name == "kept" ? world_.random.between(2, 4) : world_.random.between(1, 3));
    replicas_ = static_cast<int16_t>(world_.random.chance(75) ? 3 : 2);
    settings_.clear();
    settings_["segment.bytes"] = std::to_string(world_.random.between(20'000, 100'000));
    if (world_.random.chance(50)) settings_["leader.replication.throttled.replicas"] = settings_["follower.replication.throttled.replicas"] = "*";
    settings_["min.insync.replicas"] = std::to_string(replicas_ == 3 && world_.random.chance(80) ? 2 : 1);
    create();
  }

  void create() {
    CreateTopicsRequest request;
    CreateTopicsRequest::CreatableTopic topic;
    topic.name = creating_;
    topic.num_partitions = wanted_;
    topic.replication_factor = replicas_;
    for (auto& [key, value] : settings_) topic.configs.push_back({key, value});
    request.topics.push_back(std::move(topic));
    request.timeout_ms = 5'000;
    ask<CreateTopicsResponse>(request, 0, [this](CreateTopicsResponse& response) {
      if (response.topics.size() != 1) return world_.violation("admin: a wrong answer to CreateTopics");
      auto error = static_cast<ErrorCode>(response.topics[0].error_code);
      world_.trace("admin creates {}: {}", creating_, name_of(error));
      if (!passes(error, "CreateTopics")) return;
      if (error == ErrorCode::kNotController || error == ErrorCode::kInvalidReplicationFactor) return later(200, 1'000);
      look();
    });
  }

  // The topic is there when all of its partitions have a leader.
  void look() {
    MetadataRequest request;
    request.topics.emplace();
    MetadataRequest::MetadataRequestTopic topic;
    topic.name = creating_;
    request.topics->push_back(std::move(topic));
    request.allow_auto_topic_creation = false;
    Channel* channel = router_.any();
    if (channel == nullptr) return later(100, 400);
    send<MetadataResponse>(*channel, request, channel->any_version<MetadataRequest>(10), [this](MetadataResponse& response) {
      bool ready = response.topics.size() == 1 && response.topics[0].error_code == 0 &&
                   response.topics[0].partitions.size() == static_cast<size_t>(wanted_) && !context_.former_topics.contains(response.topics[0].topic_id);
      if (!ready) return later(100, 600);
      TopicModel& made = model_.topics[creating_];
      made = TopicModel{};
      made.name = creating_;
      made.id = response.topics[0].topic_id;
      made.flushed_acks = model_.flush_before_ack ? 1 : 0;
      made.partitions.resize(static_cast<size_t>(wanted_));
      world_.trace("topic {} is there, {} partitions, id {}", creating_, wanted_, made.id.to_string());
      creating_.clear();
      context_.events.count(Event::kTopicCreated);
      later(200, 2'000);
    });
  }

  void remove() {
    DeleteTopicsRequest request;
    request.topic_names.push_back(deleting_);
    request.timeout_ms = 5'000;
    Channel* channel = router_.controller();
    if (channel == nullptr) return later(100, 400);
    send<DeleteTopicsResponse>(*channel, request, 5, [this](DeleteTopicsResponse& response) {
      if (response.responses.size() != 1) return world_.violation("admin: a wrong answer to DeleteTopics");
      auto error = static_cast<ErrorCode>(response.responses[0].error_code);
      world_.trace("admin deletes {}: {}", deleting_, name_of(error));
      if (!passes(error, "DeleteTopics")) return;
      if (error != ErrorCode::kNone && error != ErrorCode::kUnknownTopicOrPartition) return later(200, 1'500);
      context_.former_topics.insert(deleted_id_);
      context_.events.count(Event::kTopicDeleted);
      world_.after_ms(kQuarantineMs, [this, name = deleting_] { model_.topics.erase(name); });
      deleting_.clear();
      later(200, 2'000);
    });
  }

  void widen() {
    CreatePartitionsRequest request;
    CreatePartitionsRequest::CreatePartitionsTopic topic;
    topic.name = widening_;
    topic.count = wanted_;
    topic.assignments = std::nullopt;
    request.topics.push_back(std::move(topic));
    request.timeout_ms = 5'000;
    ask<CreatePartitionsResponse>(request, 0, [this](CreatePartitionsResponse& response) {
      if (response.results.size() != 1) return world_.violation("admin: a wrong answer to CreatePartitions");
      auto error = static_cast<ErrorCode>(response.results[0].error_code);
      world_.trace("admin gives {} {} partitions: {}", widening_, wanted_, name_of(error));
      if (!passes(error, "CreatePartitions")) return;
      TopicModel* topic = model_.find(widening_);
      if (error == ErrorCode::kNotController || error == ErrorCode::kRequestTimedOut || error == ErrorCode::kReassignmentInProgress) {
        if (error == ErrorCode::kReassignmentInProgress) widening_.clear();
        return later(200, 1'500);
      }
      if ((error == ErrorCode::kNone || error == ErrorCode::kInvalidPartitions) && topic != nullptr && !topic->dying) {
        topic->partitions.resize(static_cast<size_t>(wanted_));
        context_.events.count(Event::kPartitionsAdded);
      }
      if (error != ErrorCode::kInvalidReplicationFactor) widening_.clear();
      later(200, 2'000);
    });
  }

  void reassign(TopicModel& topic) {
    AlterPartitionReassignmentsRequest request;
    AlterPartitionReassignmentsRequest::ReassignableTopic one;
    one.name = topic.name;
    AlterPartitionReassignmentsRequest::ReassignablePartition partition;
    partition.partition_index = static_cast<int32_t>(world_.random.below(topic.partitions.size()));
    const bool cancel = world_.random.chance(15);
    if (!cancel) partition.replicas = some_brokers(world_.random.chance(60) ? 3 : 2);
    one.partitions.push_back(std::move(partition));
    request.topics.push_back(std::move(one));
    request.timeout_ms = 5'000;
    ask<AlterPartitionReassignmentsResponse>(request, 0, [this, cancel](AlterPartitionReassignmentsResponse& response) {
      auto error = static_cast<ErrorCode>(response.error_code);
      if (error == ErrorCode::kNone && response.responses.size() == 1 && response.responses[0].partitions.size() == 1) {
        error = static_cast<ErrorCode>(response.responses[0].partitions[0].error_code);
        world_.trace("admin {} replicas of {}-{}: {}", cancel ? "leaves" : "moves", response.responses[0].name, response.responses[0].partitions[0].partition_index, name_of(error));
        if (error == ErrorCode::kNone && !cancel) context_.events.count(Event::kReassignmentBegun);
      }
      if (passes(error, "AlterPartitionReassignments")) later(500, 4'000);
    });
  }

  void delete_records(TopicModel& topic) {
    const TopicPartition tp{topic.name, static_cast<int32_t>(world_.random.below(topic.partitions.size()))};
    Channel* channel = router_.leader(tp);
    if (channel == nullptr) return later(100, 400);
    PartitionModel& partition = topic.partitions[static_cast<size_t>(tp.partition)];
    const int64_t offset = world_.random.between(0, partition.end_acked());
    partition.may_start_at = std::max(partition.may_start_at, offset);
    DeleteRecordsRequest request;
    DeleteRecordsRequest::DeleteRecordsTopic one;
    one.name = tp.topic;
    one.partitions.push_back({tp.partition, offset});
    request.topics.push_back(std::move(one));
    request.timeout_ms = 5'000;
    send<DeleteRecordsResponse>(*channel, request, channel->any_version<DeleteRecordsRequest>(), [this, tp, offset](DeleteRecordsResponse& response) {
      if (response.topics.size() != 1 || response.topics[0].partitions.size() != 1) return world_.violation("admin: a wrong answer to DeleteRecords");
      auto& answer = response.topics[0].partitions[0];
      const auto error = static_cast<ErrorCode>(answer.error_code);
      world_.trace("admin deletes records of {} below {}: {} start {}", tp.to_string(), offset, name_of(error), answer.low_watermark);
      switch (error) {
        case ErrorCode::kNone:
          if (answer.low_watermark < offset) return world_.violation(fmt::format("admin: {} starts at {} after a deletion up to {}", tp.to_string(), answer.low_watermark, offset));
          context_.events.count(Event::kRecordsDeleted);
          break;
        case ErrorCode::kKafkaStorageError:
        case ErrorCode::kNotLeaderOrFollower: router_.refresh(); break;
        case ErrorCode::kOffsetOutOfRange:  // a new leader has not heard of the high watermark
        case ErrorCode::kRequestTimedOut:
        case ErrorCode::kUnknownTopicOrPartition: break;
        default: return world_.violation(fmt::format("admin: DeleteRecords: {}", name_of(error)));
      }
      later(500, 3'000);
    });
  }

  // Nothing: as fast as it goes.
  void throttle(std::optional<int64_t> bytes_per_second) {
    Channel* channel = router_.any();
    if (channel == nullptr) return later(100, 400);
    constexpr int8_t kBroker = 4, kSet = 0, kDelete = 1;
    IncrementalAlterConfigsRequest request;
    IncrementalAlterConfigsRequest::AlterConfigsResource resource;
    resource.resource_type = kBroker;  // of no name: the default of all
    for (const char* key : {"leader.replication.throttled.rate", "follower.replication.throttled.rate"}) {
      resource.configs.push_back({key, bytes_per_second ? kSet : kDelete, bytes_per_second ? std::optional(std::to_string(*bytes_per_second)) : std::nullopt});
    }
    request.resources.push_back(std::move(resource));
    if (bytes_per_second) {
      context_.throttled = true;
      ++unanswered_throttles_;
    }
    send<IncrementalAlterConfigsResponse>(*channel, request, channel->any_version<IncrementalAlterConfigsRequest>(),
                                          [this, bytes_per_second](IncrementalAlterConfigsResponse& response) {
      if (response.responses.size() != 1) return world_.violation("admin: a wrong answer to IncrementalAlterConfigs");
      const auto error = static_cast<ErrorCode>(response.responses[0].error_code);
      world_.trace("admin throttles replication to {}: {}", bytes_per_second.value_or(-1), name_of(error));
      if (!passes(error, "IncrementalAlterConfigs")) return;
      if (error == ErrorCode::kNone && !bytes_per_second) context_.throttled = false;
      if (error == ErrorCode::kNone && bytes_per_second) {
        --unanswered_throttles_;
        context_.events.count(Event::kThrottled);
      }
      later(200, 2'000);
    });
  }

  void elect(TopicModel& topic) {
    ElectLeadersRequest request;
    request.election_type = 0;
    ElectLeadersRequest::TopicPartitions one;
    one.topic = topic.name;
    for (size_t p = 0; p < topic.partitions.size(); ++p) one.partitions.push_back(static_cast<int32_t>(p));
    request.topic_partitions->push_back(std::move(one));
    request.timeout_ms = 5'000;
    ask<ElectLeadersResponse>(request, 1, [this](ElectLeadersResponse& response) {
      auto error = static_cast<ErrorCode>(response.error_code);
      if (!passes(error, "ElectLeaders")) return;
      for (auto& result : response.replica_election_results) {
        for (auto& partition : result.partition_result) {
          auto code = static_cast<ErrorCode>(partition.error_code);
          // A topic of that name whose deletion is not at its end yet.
          if (code != ErrorCode::kInvalidTopicException && !passes(code, "ElectLeaders of a partition")) return;
          if (partition.error_code == 0) context_.events.count(Event::kPreferredElection);
        }
      }
      later(500, 3'000);
    });
  }

  ClusterContext& context_;
  World& world_;
  Model& model_;
  Router router_;
  bool out_ = false;
  int unanswered_throttles_ = 0;
  int64_t next_removal_ms_ = 0;
  std::string creating_, deleting_, widening_;
  Uuid deleted_id_;
  int32_t wanted_ = 0;
  int16_t replicas_ = 3;
  std::map<std::string, std::string> settings_;
};

}  // namespace

std::unique_ptr<Client> make_cluster_admin(ClusterContext& context) { return std::make_unique<Admin>(context); }

}  // namespace odradek::sim
