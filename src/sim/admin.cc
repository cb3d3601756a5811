#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_records.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/incremental_alter_configs.h"
#include "protocol/messages/metadata.h"
#include "sim/clients.h"

namespace odradek::sim {
namespace {

using namespace protocol;

constexpr int8_t kTopicResource = 2;
constexpr int kNames = 5;
// No request to the former topic of a name can be on its way any more.
constexpr int64_t kQuarantineMs = 10'000;

class Admin final : public Client {
 public:
  explicit Admin(Context& context)
      : context_(context), world_(context.world), model_(context.model), channel_(world_, context.network, "admin") {}

  void start() override {
    channel_.open([this] { after(1, [this] { act(); }); }, [this] { ++round_; });
  }
  bool is_idle() const override { return channel_.calls_out() == 0; }

 private:
  template <class Then>
  void after(int64_t ms, Then then) {
    world_.after_ms(ms, [this, round = round_, then = std::move(then)] {
      if (round == round_ && channel_.is_ready()) then();
    });
  }
  template <class Response, class Request, class Then>
  void ask(const Request& request, int16_t version, int64_t patience_ms, Then then) {
    channel_.call<Request, Response>(request, version, patience_ms, [this, then = std::move(then)](Response* response) mutable {
      if (response != nullptr) then(*response);
    });
  }
  void act_later() {
    after(world_.random.between(50, 1'500), [this] { act(); });
  }

  void act() {
    // What was begun is brought to its end first.
    if (!creating_.empty()) return create(creating_);
    if (!deleting_.empty()) return remove(deleting_);
    if (model_.find("kept") == nullptr) return begin_creation("kept");
    if (context_.ending) return act_later();
    SeededRandom& random = world_.random;
    TopicModel* topic = model_.any_topic();
    size_t living = 0;
    for (auto& [name, one] : model_.topics) living += one.dying ? 0 : 1;
    if (living < 3 || random.chance(10)) {
      std::string name = "t" + std::to_string(random.below(kNames));
      if (model_.find(name) == nullptr) return begin_creation(name);
      return act_later();
    }
    if (random.chance(12) && topic->name != "kept") {
      deleting_ = topic->name;
      topic->dying = true;
      return remove(deleting_);
    }
    if (random.chance(50)) return alter(*topic);
    if (random.chance(40) && topic->name != "kept") return delete_records(*topic);
    act_later();
  }

  std::map<std::string, std::string> random_settings() {
    SeededRandom& random = world_.random;
    std::map<std::string, std::string> settings;
    auto set = [&](const char* key, int64_t low, int64_t high) { settings[key] = std::to_string(random.between(low, high)); };
    set("segment.bytes", 5'000, 30'000);
    if (random.chance(50)) set("index.interval.bytes", 0, 2'000);
    if (random.chance(30)) set("segment.index.bytes", 24, 200);
    if (random.chance(30)) set("segment.ms", 500, 10'000);
    if (random.chance(30)) set("retention.ms", 3'000, 20'000);
    if (random.chance(30)) set("retention.bytes", 10'000, 60'000);
    if (random.chance(30)) set("flush.messages", 1, 1);
    if (random.chance(30)) set("flush.ms", 1, 2'000);
    if (random.chance(40)) settings["flush.before.ack"] = random.chance(60) ? "all" : random.chance(70) ? "acks-all" : "none";
    if (random.chance(30)) set("file.delete.delay.ms", 0, 2'000);
    return settings;
  }

  // Of TopicModel::flushed_acks; "": the broker's setting.
  int level_of(const std::string& setting) const {
    if (setting.empty()) return model_.flush_before_ack ? 2 : 0;
    return setting == "all" ? 2 : setting == "acks-all" ? 1 : 0;
  }

  void begin_creation(const std::string& name) {
    creating_ = name;
    partitions_ = static_cast<int32_t>(name == "kept" ? world_.random.between(2, 6) : world_.random.between(1, 3));
    settings_ = random_settings();
    if (name == "kept") {
      settings_.erase("retention.ms");
      settings_.erase("retention.bytes");
    }
    create(name);
  }

  void create(const std::string& name) {
    CreateTopicsRequest request;
    CreateTopicsRequest::CreatableTopic topic;
    topic.name = name;
    topic.num_partitions = partitions_;
    topic.replication_factor = 1;
    for (auto& [key, value] : settings_) topic.configs.push_back({key, value});
    request.topics.push_back(std::move(topic));
    request.timeout_ms = static_cast<int32_t>(world_.random.between(100, 5'000));
    if (context_.at_change) context_.at_change();
    ask<CreateTopicsResponse>(request, channel_.any_version<CreateTopicsRequest>(), 5'000, [this, name](CreateTopicsResponse& response) {
      if (response.topics.size() != 1) return world_.violation("admin: a wrong answer to CreateTopics");
      auto error = static_cast<ErrorCode>(response.topics[0].error_code);
      world_.trace("admin creates {}: {}", name, name_of(error));
      switch (error) {
        case ErrorCode::kNone:
        case ErrorCode::kTopicAlreadyExists:
        case ErrorCode::kRequestTimedOut: return look(name);
        case ErrorCode::kInvalidReplicationFactor:  // the broker has just come
        case ErrorCode::kNotController: return act_later();
        default: return world_.violation(fmt::format("admin: creation of {}: {}", name, name_of(error)));
      }
    });
  }

  // The topic is there when all of its partitions have a leader.
  void look(const std::string& name) {
    MetadataRequest request;
    request.topics.emplace();
    MetadataRequest::MetadataRequestTopic topic;
    topic.name = name;
    request.topics->push_back(std::move(topic));
    request.allow_auto_topic_creation = false;
    ask<MetadataResponse>(request, channel_.any_version<MetadataRequest>(10), 0, [this, name](MetadataResponse& response) {
      bool ready = response.topics.size() == 1 && response.topics[0].error_code == 0 &&
                   response.topics[0].partitions.size() == static_cast<size_t>(partitions_);
      if (ready) {
        for (auto& partition : response.topics[0].partitions) ready = ready && partition.leader_id >= 0 && partition.error_code == 0;
      }
      if (!ready) return act_later();
      TopicModel& made = model_.topics[name];
      made = TopicModel{};
      made.name = name;
      made.id = response.topics[0].topic_id;
      made.partitions.resize(static_cast<size_t>(partitions_));
      made.flush_each = settings_.contains("flush.messages");
      made.flushed_acks = level_of(settings_.contains("flush.before.ack") ? settings_["flush.before.ack"] : "");
      creating_.clear();
      world_.trace("topic {} is there, {} partitions, id {}", name, partitions_, made.id.to_string());
      act_later();
    });
  }

  void remove(const std::string& name) {
    DeleteTopicsRequest request;
    int16_t v = channel_.any_version<DeleteTopicsRequest>();
    if (v >= 6) {
      DeleteTopicsRequest::DeleteTopicState topic;
      if (world_.random.chance(50)) {
        topic.name = name;
      } else {
        topic.topic_id = model_.find(name)->id;
      }
      request.topics.push_back(std::move(topic));
    } else {
      request.topic_names.push_back(name);
    }
    request.timeout_ms = static_cast<int32_t>(world_.random.between(100, 5'000));
    if (context_.at_change) context_.at_change();
    ask<DeleteTopicsResponse>(request, v, 5'000, [this, name](DeleteTopicsResponse& response) {
      if (response.responses.size() != 1) return world_.violation("admin: a wrong answer to DeleteTopics");
      auto error = static_cast<ErrorCode>(response.responses[0].error_code);
      world_.trace("admin deletes {}: {}", name, name_of(error));
      switch (error) {
        case ErrorCode::kNone:
        case ErrorCode::kUnknownTopicOrPartition:
        case ErrorCode::kUnknownTopicId: break;
        case ErrorCode::kRequestTimedOut:
        case ErrorCode::kNotController: return act_later();
        default: return world_.violation(fmt::format("admin: deletion of {}: {}", name, name_of(error)));
      }
      deleting_.clear();
      world_.after_ms(kQuarantineMs, [this, name] { model_.topics.erase(name); });
      act_later();
    });
  }

  void alter(TopicModel& topic) {
    auto settings = random_settings();
    auto pick = settings.begin();
    std::advance(pick, static_cast<int64_t>(world_.random.below(settings.size())));
    auto [key, value] = *pick;
    if (topic.name == "kept" && key.starts_with("retention")) return act_later();
    bool unset = world_.random.chance(30) && key != "segment.bytes";
    if (key == "flush.messages" && unset) topic.flush_each = false;
    // A stricter setting counts some time later: only what the topic was created with is promised.
    if (key == "flush.before.ack") topic.flushed_acks = std::min(topic.flushed_acks, level_of(unset ? "" : value));
    IncrementalAlterConfigsRequest request;
    IncrementalAlterConfigsRequest::AlterConfigsResource resource;
    resource.resource_type = kTopicResource;
    resource.resource_name = topic.name;
    resource.configs.push_back({key, static_cast<int8_t>(unset ? 1 : 0), unset ? std::nullopt : std::optional(value)});
    request.resources.push_back(std::move(resource));
    ask<IncrementalAlterConfigsResponse>(request, channel_.any_version<IncrementalAlterConfigsRequest>(), 5'000,
                                         [this, name = topic.name, id = topic.id, key, value, unset](IncrementalAlterConfigsResponse& response) {
      if (response.responses.size() != 1) return world_.violation("admin: a wrong answer to IncrementalAlterConfigs");
      auto error = static_cast<ErrorCode>(response.responses[0].error_code);
      world_.trace("admin sets {} of {} to {}: {}", key, name, unset ? "its default" : value, name_of(error));
      TopicModel* now = model_.find(name);
      if (error == ErrorCode::kNone && now != nullptr && now->id == id && key == "flush.messages" && !unset) now->flush_each = true;
      if (error != ErrorCode::kNone && error != ErrorCode::kRequestTimedOut && error != ErrorCode::kNotController) {
        return world_.violation(fmt::format("admin: {}={} for {}: {}", key, value, name, name_of(error)));
      }
      act_later();
    });
  }

  void delete_records(TopicModel& topic) {
    TopicPartition tp{topic.name, static_cast<int32_t>(world_.random.below(topic.partitions.size()))};
    PartitionModel& partition = topic.partitions[static_cast<size_t>(tp.partition)];
    int64_t end = partition.end_acked();
    int64_t offset = world_.random.chance(20) ? -1 : partition.served_start <= end ? world_.random.between(partition.served_start, end) : end;
    DeleteRecordsRequest request;
    DeleteRecordsRequest::DeleteRecordsTopic one;
    one.name = tp.topic;
    one.partitions.push_back({tp.partition, offset});
    request.topics.push_back(std::move(one));
    request.timeout_ms = 5'000;
    Model::Bounds known = model_.bounds(tp);
    ask<DeleteRecordsResponse>(request, channel_.any_version<DeleteRecordsRequest>(), 5'000, [this, tp, offset, known](DeleteRecordsResponse& response) {
      if (response.topics.size() != 1 || response.topics[0].partitions.size() != 1) return world_.violation("admin: a wrong answer to DeleteRecords");
      auto& answer = response.topics[0].partitions[0];
      auto error = static_cast<ErrorCode>(answer.error_code);
      world_.trace("admin deletes records of {} below {}: {} start {}", tp.to_string(), offset, name_of(error), answer.low_watermark);
      if (error == ErrorCode::kNone) {
        if (answer.low_watermark < offset) world_.violation(fmt::format("admin: {} starts at {} after a deletion up to {}", tp.to_string(), answer.low_watermark, offset));
        model_.on_bounds(tp, {answer.low_watermark, -1, 0}, known, "DeleteRecords");
      }
      act_later();
    });
  }

  Context& context_;
  World& world_;
  Model& model_;
  Channel channel_;
  int64_t round_ = 0;
  std::string creating_, deleting_;
  int32_t partitions_ = 0;
  std::map<std::string, std::string> settings_;
};

}  // namespace

std::unique_ptr<Client> make_admin(Context& context) { return std::make_unique<Admin>(context); }

}  // namespace odradek::sim
