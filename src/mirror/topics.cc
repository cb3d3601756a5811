#include "mirror/topics.h"

#include <algorithm>

#include "base/log.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/describe_configs.h"
#include "protocol/messages/incremental_alter_configs.h"

namespace odradek::mirror {

using namespace protocol;  // NOLINT: nearly all names here are messages

namespace {
constexpr int8_t kTopicResource = 2, kSetByTopic = 1;  // resource type and source of a config
constexpr int8_t kSet = 0, kDelete = 1;
constexpr int32_t kTimeout_ms = 30'000;

ErrorCode code_of(int16_t code) { return static_cast<ErrorCode>(code); }
}  // namespace

void Topics::say_once(const std::string& what) {
  if (said_.insert(what).second) log::warn("mirror", "{}", what);
}

Result<void> Topics::refusals() const {
  if (refusals_.empty()) return {};
  return fail(ErrorCode::kPolicyViolation, refusals_.begin()->second + (refusals_.size() == 1 ? "" : " (and " + std::to_string(refusals_.size() - 1) + " more topics)"));
}

Result<std::map<std::string, MirroredTopic>> Topics::refresh() {
  refusals_.clear();
  auto of_source = source_.metadata(std::nullopt);
  if (!of_source) return fail(of_source.error().code, "source: " + of_source.error().what);
  auto of_target = target_.metadata(std::nullopt);
  if (!of_target) return fail(of_target.error().code, "target: " + of_target.error().what);
  // A broker that started a moment ago may know of no broker and no topic yet: then it says nothing about what there is.
  for (client::Cluster* cluster : {&source_, &target_}) {
    if (cluster->brokers().empty()) return fail(ErrorCode::kLeaderNotAvailable, std::string(cluster == &source_ ? "source" : "target") + ": the broker that was asked knows of no brokers");
  }
  std::map<std::string, const MetadataResponse::MetadataResponseTopic*> there;
  for (const auto& topic : of_target->topics) there[topic.name.value_or("")] = &topic;
  std::map<std::string, MirroredTopic> topics;
  std::vector<std::string> missing;
  for (const auto& topic : of_source->topics) {
    std::string name = topic.name.value_or("");
    if (topic.is_internal || !options_.topics.allows(name)) continue;
    MirroredTopic& mirrored = topics[name];
    if (topic.error_code != 0 || topic.partitions.empty()) continue;  // it is there, more is not known now
    if (!topic.topic_id.is_zero()) mirrored.id = topic.topic_id.to_string();
    for (const auto& partition : topic.partitions) mirrored.source_leaders[partition.partition_index] = {partition.leader_id};
    auto found = there.find(name);
    if (found == there.end()) {
      missing.push_back(name);
      continue;
    }
    if (found->second->error_code != 0) continue;
    for (const auto& partition : found->second->partitions) mirrored.target_leaders[partition.partition_index] = {partition.leader_id};
    if (mirrored.target_leaders.size() < mirrored.source_leaders.size()) {
      if (auto grown = grow(name, static_cast<int32_t>(mirrored.source_leaders.size())); !grown) return fail(std::move(grown.error()));
    } else {
      mirrored.there = true;
      if (mirrored.target_leaders.size() > mirrored.source_leaders.size()) {
        say_once("topic " + name + " has more partitions on the target than on the source: keys may go elsewhere after a fail-over");
      }
    }
  }
  if (!missing.empty()) {
    auto wanted = options_.sync_configs ? configs(source_, missing) : Result<std::map<std::string, Configs>>();
    if (!wanted) return fail(std::move(wanted.error()));
    for (const std::string& name : missing) {
      if (auto made = create(name, static_cast<int32_t>(topics[name].source_leaders.size()), (*wanted)[name]); !made) return fail(std::move(made.error()));
    }
  }
  return topics;
}

Result<std::pair<ErrorCode, std::string>> Topics::ask_to_create(const std::string& name, int32_t partitions, const Configs& configs, bool only_validate) {
  CreateTopicsRequest request;
  request.timeout_ms = kTimeout_ms;
  request.validate_only = only_validate;
  auto& topic = request.topics.emplace_back();
  topic.name = name;
  topic.num_partitions = partitions;
  topic.replication_factor = options_.replication_factor;
  for (const auto& [key, value] : configs) topic.configs.push_back({.name = key, .value = value});
  auto answer = target_.ask<CreateTopicsResponse>(client::TheController{}, request, [](const CreateTopicsResponse& response) {
    return response.topics.empty() ? ErrorCode::kNone : code_of(response.topics[0].error_code);
  });
  if (!answer) return fail(std::move(answer.error()));
  if (answer->message.topics.empty()) return std::pair{ErrorCode::kUnknownServerError, std::string()};
  return std::pair{code_of(answer->message.topics[0].error_code), answer->message.topics[0].error_message.value_or("")};
}

Result<void> Topics::create(const std::string& name, int32_t partitions, Configs configs) {
  auto answer = ask_to_create(name, partitions, configs, false);
  if (answer && answer->first == ErrorCode::kInvalidConfig) {
    // The target's broker does not take all of them. It gets the others from the start: without its cleanup.policy a topic could lose records.
    for (auto at = configs.begin(); at != configs.end();) {
      auto alone = ask_to_create(name, partitions, {*at}, true);
      if (!alone) return fail(std::move(alone.error()));
      if (alone->first == ErrorCode::kInvalidConfig) say_once("the target does not take " + at->first + "=" + at->second + " of topic " + name + ": " + alone->second);
      at = alone->first == ErrorCode::kInvalidConfig ? configs.erase(at) : std::next(at);
    }
    answer = ask_to_create(name, partitions, configs, false);
  }
  if (!answer) return fail(std::move(answer.error()));
  if (answer->first == ErrorCode::kNone) {
    log::info("mirror", "made topic {} with {} partitions on the target", name, partitions);
  } else if (answer->first != ErrorCode::kTopicAlreadyExists) {
    say_once(refusals_[name] = "topic " + name + " cannot be made on the target: " + std::string(name_of(answer->first)) + " " + answer->second);
  }
  return {};
}

Result<void> Topics::grow(const std::string& name, int32_t partitions) {
  CreatePartitionsRequest request;
  request.timeout_ms = kTimeout_ms;
  auto& topic = request.topics.emplace_back();
  topic.name = name;
  topic.count = partitions;
  topic.assignments.reset();
  auto answer = target_.ask<CreatePartitionsResponse>(client::TheController{}, request);
  if (!answer) return fail(std::move(answer.error()));
  for (const auto& result : answer->message.results) {
    if (result.error_code == 0) {
      log::info("mirror", "topic {} has {} partitions on the target now", name, partitions);
    } else if (!is_retriable(code_of(result.error_code))) {
      say_once(refusals_[name] = "partitions of " + name + " cannot be added on the target: " + std::string(name_of(code_of(result.error_code))) + " " +
                                 result.error_message.value_or(""));
    }
  }
  return {};
}

Result<std::map<std::string, Topics::Configs>> Topics::configs(client::Cluster& cluster, const std::vector<std::string>& names) {
  std::map<std::string, Configs> found;
  constexpr size_t kAtOnce = 200;
  for (size_t from = 0; from < names.size(); from += kAtOnce) {
    DescribeConfigsRequest request;
    for (size_t i = from; i < std::min(names.size(), from + kAtOnce); ++i) {
      auto& resource = request.resources.emplace_back();
      resource.resource_type = kTopicResource;
      resource.resource_name = names[i];
      resource.configuration_keys.reset();
    }
    auto answer = cluster.ask<DescribeConfigsResponse>(client::AnyBroker{}, request);
    if (!answer) return fail(std::move(answer.error()));
    for (const auto& result : answer->message.results) {
      if (result.error_code != 0) continue;
      Configs& configs = found[result.resource_name];
      for (const auto& config : result.configs) {
        bool own = answer->version == 0 ? !config.is_default : config.config_source == kSetByTopic;
        if (own && config.value && !config.is_sensitive && options_.config_keys.allows(config.name)) configs[config.name] = *config.value;
      }
    }
  }
  return found;
}

Result<void> Topics::alter(const std::string& name, const std::vector<std::pair<std::string, std::optional<std::string>>>& changes) {
  auto ask = [&](const std::vector<std::pair<std::string, std::optional<std::string>>>& some) -> Result<ErrorCode> {
    IncrementalAlterConfigsRequest request;
    auto& resource = request.resources.emplace_back();
    resource.resource_type = kTopicResource;
    resource.resource_name = name;
    for (const auto& [key, value] : some) resource.configs.push_back({.name = key, .config_operation = value ? kSet : kDelete, .value = value});
    auto answer = target_.ask<IncrementalAlterConfigsResponse>(client::AnyBroker{}, request);
    if (!answer) return fail(std::move(answer.error()));
    return answer->message.responses.empty() ? ErrorCode::kUnknownServerError : code_of(answer->message.responses[0].error_code);
  };
  auto code = ask(changes);
  if (!code) return fail(std::move(code.error()));
  if (*code == ErrorCode::kNone) {
    for (const auto& [key, value] : changes) log::info("mirror", "topic {} on the target: {}", name, value ? key + "=" + *value : key + " is the default again");
    return {};
  }
  for (const auto& change : changes) {
    auto one = ask({change});
    if (!one) return fail(std::move(one.error()));
    if (*one != ErrorCode::kNone) say_once("the target does not take " + change.first + " of topic " + name + ": " + std::string(name_of(*one)));
  }
  return {};
}

Result<void> Topics::sync_configs(const std::map<std::string, MirroredTopic>& topics) {
  std::vector<std::string> names;
  for (const auto& [name, topic] : topics) {
    if (topic.there) names.push_back(name);
  }
  auto wanted = configs(source_, names);
  if (!wanted) return fail(std::move(wanted.error()));
  auto present = configs(target_, names);
  if (!present) return fail(std::move(present.error()));
  for (const std::string& name : names) {
    if (!wanted->contains(name) || !present->contains(name)) continue;
    std::vector<std::pair<std::string, std::optional<std::string>>> changes;
    for (const auto& [key, value] : wanted->at(name)) {
      auto found = present->at(name).find(key);
      if ((found == present->at(name).end() || found->second != value)) changes.emplace_back(key, value);
    }
    for (const auto& [key, value] : present->at(name)) {
      if (!wanted->at(name).contains(key)) changes.emplace_back(key, std::nullopt);
    }
    if (changes.empty()) continue;
    if (auto done = alter(name, changes); !done) return done;
  }
  return {};
}

// By the word of the controller, the first one to know: what a list lacked may only have been unknown to the broker that gave it.
Result<bool> Topics::is_gone(const std::string& name) {
  MetadataRequest request;
  request.topics.emplace().emplace_back().name = name;
  request.allow_auto_topic_creation = false;
  auto answer = source_.ask<MetadataResponse>(client::TheController{}, request);
  if (!answer) return fail(answer.error().code, "source: " + answer.error().what);
  const MetadataResponse& metadata = answer->message;
  if (metadata.controller_id < 0 || metadata.brokers.empty() || metadata.topics.size() != 1) return false;
  return code_of(metadata.topics[0].error_code) == ErrorCode::kUnknownTopicOrPartition;
}

Result<void> Topics::remove(const std::set<std::string>& names) {
  for (const std::string& name : names) {
    auto gone = is_gone(name);
    if (!gone) return fail(std::move(gone.error()));
    if (!*gone) continue;
    DeleteTopicsRequest request;
    request.timeout_ms = kTimeout_ms;
    request.topic_names = {name};
    request.topics.emplace_back().name = name;
    auto answer = target_.ask<DeleteTopicsResponse>(client::TheController{}, request);
    if (!answer) return fail(std::move(answer.error()));
    for (const auto& result : answer->message.responses) {
      if (result.error_code == 0) log::info("mirror", "deleted topic {} on the target: it is gone from the source", name);
    }
  }
  return {};
}

}  // namespace odradek::mirror
