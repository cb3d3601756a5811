#include "adopt/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "adopt/tree.h"
#include "metadata/store/embedded_store.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "storage/files/checkpoint.h"
#include "storage/files/partition_folder.h"
#include "storage/files/partition_metadata.h"

namespace odradek::adopt {

namespace {

constexpr int64_t kMaxSmallFile = 1 << 20;
// Producer ids are given out in blocks of this many; a broker asks for the next block early, so two may be under way.
constexpr int64_t kIdBlock = 1000;
constexpr int64_t kBlocksUnderWay = 2;
constexpr std::string_view kRemoteTopic = "__remote_log_metadata";
constexpr std::string_view kRemoteIndexFolder = "remote-log-index-cache";
// What is listed in full; of more, the number.
constexpr size_t kMostListed = 20;

class Inspection {
 public:
  Inspection(base::Runtime& runtime, const config::BrokerConfig& config, bool allow_open) : files_(runtime.files()), config_(config), allow_open_(allow_open) {}

  Result<Plan> run() {
    if (!find_store() || plan_.finished) return std::move(plan_);
    for (const std::string& dir : config_.log_dirs()) {
      if (auto read = read_dir(dir); !read) return fail(read.error());
    }
    check_identity();
    if (!plan_.refusals.empty()) return std::move(plan_);
    if (auto found = find_mode(); !found) return fail(found.error());
    if (!plan_.refusals.empty()) return std::move(plan_);
    if (plan_.kraft) {
      if (auto taken = take_metadata_log(); !taken) return fail(taken.error());
    } else {
      take_folders();
    }
    if (auto scanned = scan_logs(); !scanned) return fail(scanned.error());
    guess_policies();
    make_tree();
    return std::move(plan_);
  }

 private:
  template <class... Arguments>
  void refuse(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    plan_.refusals.push_back(fmt::format(text, std::forward<Arguments>(arguments)...));
  }
  template <class... Arguments>
  void note(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    plan_.notes.push_back(fmt::format(text, std::forward<Arguments>(arguments)...));
  }
  template <class... Arguments>
  void fact(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    plan_.facts.push_back(fmt::format(text, std::forward<Arguments>(arguments)...));
  }
  template <class Container>
  static std::string listed(const Container& names) {
    std::string text;
    size_t count = 0;
    for (const auto& name : names) {
      if (count++ == kMostListed) {
        text += fmt::format(" and {} more", names.size() - kMostListed);
        break;
      }
      text += (text.empty() ? "" : ", ") + name;
    }
    return text;
  }

  // --- who and where ---------------------------------------------------------------------------------------------------------

  bool find_store() {
    const std::string folder = config_.metadata_log_dir();
    plan_.store_file = folder + "/" + metadata::kEmbeddedStoreFile;
    plan_.mark_file = folder + "/" + std::string(kMarkFile);
    if (!config_.is_null("zookeeper.connect") && !config_.get_string("zookeeper.connect").empty()) {
      const std::string& connect = config_.get_string("zookeeper.connect");
      refuse("zookeeper.connect is set ({}): the metadata of this cluster lies there, with the configs of its topics, which the log dirs do not hold. "
             "Odradek runs on it as it is; to leave ZooKeeper: `odradek metadata import server.properties --from-zookeeper {}`, then remove the key. "
             "If that ZooKeeper is lost: remove the key and adopt",
             connect, connect);
      return false;
    }
    if (!files_.exists(plan_.store_file)) return true;
    auto tree = metadata::read_store_file(files_, plan_.store_file);
    if (!tree) {
      refuse("{}", tree.error().what);
      return false;
    }
    auto id = metadata::cluster_id_of(*tree);
    if (!id) return true;  // made by a start that did not come far
    if (files_.exists(plan_.mark_file)) {
      plan_.finished = true;
      return true;
    }
    refuse("{} already holds the metadata of cluster {}: nothing is to be adopted", plan_.store_file, *id);
    return false;
  }

  Result<void> read_dir(const std::string& path) {
    PlannedDir& dir = plan_.dirs.emplace_back();
    dir.path = path;
    dir.exists = files_.exists(path);
    if (!dir.exists) {
      note("log dir {} is not there and will be made", path);
      return {};
    }
    auto properties = storage::read_meta_properties(files_, path);
    if (!properties) {
      refuse("{}", properties.error().what);
      return {};
    }
    dir.properties = std::move(*properties);
    dir.clean = files_.exists(path + "/" + std::string(storage::kCleanShutdownFile));
    std::set<std::string> compacted;
    auto cleaned = storage::read_offsets(files_, path + "/" + std::string(storage::kCleanerFile));
    if (cleaned) {
      for (const auto& [tp, offset] : *cleaned) compacted.insert(tp.topic);
    } else {
      note("{}: taken as empty", cleaned.error().what);
    }
    auto entries = files_.list(path);
    if (!entries) return fail(entries.error());
    size_t partitions = 0;
    for (const auto& entry : *entries) {
      if (!entry.is_directory) continue;
      TopicPartition tp;
      switch (storage::parse_folder(entry.name, tp)) {
        case storage::FolderKind::kLive: {
          ++partitions;
          Folder folder;
          folder.path = path + "/" + entry.name;
          folder.compacted = compacted.contains(tp.topic);
          auto id = storage::read_partition_metadata(files_, folder.path);
          if (!id) {
            refuse("{}", id.error().what);
            break;
          }
          folder.topic_id = *id;
          auto [first, is_new] = folders_.try_emplace(tp, folder);
          if (!is_new) refuse("partition {} is in two log dirs, {} and {}: move one of them away", tp.to_string(), first->second.path, folder.path);
          break;
        }
        case storage::FolderKind::kDeleted: note("{}/{} was being deleted: goes at the first start", path, entry.name); break;
        case storage::FolderKind::kFuture: note("{}/{} is half of a move between log dirs: it goes on", path, entry.name); break;
        case storage::FolderKind::kStray: note("{}/{} is of a topic that is gone: stays and is not used", path, entry.name); break;
        case storage::FolderKind::kIgnored:
          if (entry.name == kRemoteIndexFolder) refuse("{}/{}: records of this cluster lie in remote storage, which is not read", path, entry.name);
          break;
        case storage::FolderKind::kForeign: refuse("the directory {}/{} is no partition (<topic>-<number>): move it elsewhere", path, entry.name); break;
      }
    }
    if (!dir.properties && partitions > 0) refuse("{} has {} partitions but no meta.properties: whose are they?", path, partitions);
    fact("log dir {}: {} partitions, {}", path, partitions, dir.clean ? "stopped in order" : "not stopped in order: it will be recovered");
    return {};
  }

  void check_identity() {
    std::string cluster_from, broker_from;
    for (const PlannedDir& dir : plan_.dirs) {
      if (!dir.properties) continue;
      const std::string path = dir.path + "/" + std::string(storage::kMetaPropertiesFile);
      if (const auto& id = dir.properties->cluster_id) {
        if (!plan_.cluster_id.empty() && plan_.cluster_id != *id) refuse("{} says cluster.id {}, but {} says {}", path, *id, cluster_from, plan_.cluster_id);
        plan_.cluster_id = *id;
        cluster_from = path;
      }
      if (const auto& id = dir.properties->broker_id) {
        if (plan_.broker != kNoBroker && plan_.broker != *id) {
          refuse("{} says broker {}, but {} says {}", path, id->value, broker_from, plan_.broker.value);
        }
        plan_.broker = *id;
        broker_from = path;
      }
    }
    if (plan_.cluster_id.empty() || plan_.broker == kNoBroker) {
      refuse("no log dir has a meta.properties with cluster.id and broker.id or node.id: no Kafka has run here");
      return;
    }
    BrokerId configured = config_.broker_id();
    if (configured != kNoBroker && configured != plan_.broker) {
      refuse("broker.id (node.id) is {}, but the log dirs belong to broker {}: set it to that", configured.value, plan_.broker.value);
    }
    int32_t reserved = config_.get_int("reserved.broker.max.id");
    if (plan_.broker.value > reserved) {
      note("broker id {} is above reserved.broker.max.id ({}): Kafka in ZooKeeper mode takes it only with broker.id.generation.enable=false", plan_.broker.value, reserved);
    }
  }

  // KRaft, or the folders alone.
  Result<void> find_mode() {
    metadata_folder_ = config_.metadata_log_dir() + "/" + std::string(storage::kMetadataLogFolder);
    if (!files_.exists(metadata_folder_)) {
      for (const PlannedDir& dir : plan_.dirs) {
        std::string other = dir.path + "/" + std::string(storage::kMetadataLogFolder);
        if (files_.exists(other)) refuse("the metadata log is {}, but metadata.log.dir (or the first of log.dirs) is another folder", other);
      }
    }
    bool version_1 = std::any_of(plan_.dirs.begin(), plan_.dirs.end(), [](const PlannedDir& dir) { return dir.properties && dir.properties->version == 1; });
    if (files_.exists(plan_.mark_file)) {
      auto mark = base::read_file(files_, plan_.mark_file, kMaxSmallFile);
      if (!mark) return fail(mark.error());
      plan_.kraft = as_text(*mark).starts_with("kraft");
      note("a former adoption was broken off: it is begun anew");
      return {};
    }
    plan_.kraft = version_1;
    if (version_1 && !files_.exists(metadata_folder_)) {
      refuse("meta.properties is of a KRaft node, but {} is not there: set metadata.log.dir to where it is", metadata_folder_);
    }
    if (!version_1 && files_.exists(metadata_folder_)) {
      refuse("{} is of a KRaft node, but meta.properties is not: the metadata log may be older than the partitions. Move that folder away to adopt the partitions alone",
             metadata_folder_);
    }
    return {};
  }

  // --- topics ----------------------------------------------------------------------------------------------------------------

  Result<void> take_metadata_log() {
    auto read = read_metadata_log(files_, metadata_folder_);
    if (!read) {
      if (read.error().code == kStorageErrorCode) return fail(read.error());
      refuse("{}", read.error().what);
      return {};
    }
    image_ = std::move(*read);
    fact("KRaft metadata: {} records up to offset {}{}", image_.records, image_.end_offset, image_.snapshot.empty() ? "" : ", from " + image_.snapshot + " on");
    std::string features;
    for (const auto& [name, level] : image_.features) features += fmt::format("{}{}={}", features.empty() ? "" : ", ", name, level);
    fact("feature levels: {}; a tree of 3.9 has none of them", features.empty() ? "none" : features);
    for (const auto& [what, count] : image_.unknown) note("{} times {}: not known to this release, left out", count, what);
    if (image_.brokers.size() > 1) note("{} brokers are registered; only broker {} is taken over", image_.brokers.size(), plan_.broker.value);
    for (const auto& [id, topic] : image_.topics) take_topic(id, topic);
    for (const auto& [tp, folder] : folders_) {
      if (taken_.contains(tp)) continue;
      if (image_.find_topic(tp.topic) == nullptr) {
        plan_.strays.push_back(folder.path);
        note("{} belongs to no topic of the metadata: it becomes a -stray folder, not used", folder.path);
      } else {
        refuse("{}: the metadata do not have this partition, or not under topic id {}", folder.path, folder.topic_id.to_string());
      }
    }
    return {};
  }

  void take_topic(const Uuid& id, const MetadataImage::Topic& topic) {
    PlannedTopic& planned = plan_.topics[topic.name];
    planned.id = id;
    if (auto config = image_.configs.find({kTopicResource, topic.name}); config != image_.configs.end()) {
      if (auto remote = config->second.find("remote.storage.enable"); remote != config->second.end() && remote->second == "true") {
        refuse("topic {} has remote.storage.enable=true: its older records lie in remote storage, which is not read", topic.name);
      }
    }
    int32_t expected = 0;
    for (const auto& [number, partition] : topic.partitions) {
      TopicPartition tp{topic.name, number};
      if (number != expected++) refuse("topic {}: the metadata have partition {} but not {}", topic.name, number, expected - 1);
      auto is_here = [&](const std::vector<int32_t>& brokers) { return std::find(brokers.begin(), brokers.end(), plan_.broker.value) != brokers.end(); };
      auto found = folders_.find(tp);
      if (!is_here(partition.replicas)) {
        refuse("partition {} has no replica on broker {}: its records are elsewhere; move it here before (kafka-reassign-partitions)", tp.to_string(), plan_.broker.value);
      } else if (partition.replicas.size() > 1 && !is_here(partition.isr) && !is_here(partition.elr)) {
        refuse("the replica of {} here was not in sync: it may lack records", tp.to_string());
      } else if (found == folders_.end()) {
        refuse("partition {} has no folder in the log dirs: is a log dir missing in log.dirs?", tp.to_string());
      } else if (!found->second.topic_id.is_zero() && found->second.topic_id != id) {
        continue;  // refused below
      } else {
        if (partition.replicas.size() > 1) ++reduced_;
        planned.partitions[number] = found->second;
        taken_.insert(tp);
        kraft_epochs_[tp] = partition.leader_epoch;
      }
    }
  }

  void take_folders() {
    for (const auto& [tp, folder] : folders_) {
      PlannedTopic& topic = plan_.topics[tp.topic];
      if (tp.topic == kRemoteTopic) refuse("the topic {} says that records of this cluster lie in remote storage, which is not read", tp.topic);
      if (!folder.topic_id.is_zero()) {
        if (topic.id && *topic.id != folder.topic_id) {
          refuse("{} has topic id {}, other partitions of the topic have {}: folders of two topics of the same name", folder.path, folder.topic_id.to_string(), topic.id->to_string());
        }
        topic.id = folder.topic_id;
      }
      topic.partitions[tp.partition] = folder;
    }
    for (auto& [name, topic] : plan_.topics) {
      int32_t count = topic.partitions.rbegin()->first + 1;
      if (static_cast<size_t>(count) != topic.partitions.size()) {
        std::vector<std::string> missing;
        for (int32_t i = 0; i < count; ++i) {
          if (!topic.partitions.contains(i)) missing.push_back(std::to_string(i));
        }
        refuse("topic {} has partition {} here but not {}: it lies on another broker or in a log dir that log.dirs does not name, and an empty one in its place would "
               "hide that",
               name, count - 1, listed(missing));
      }
      bool compacted = std::any_of(topic.partitions.begin(), topic.partitions.end(), [](const auto& each) { return each.second.compacted; });
      if (name == kGroupMetadataTopic) {
        topic.config = {{"cleanup.policy", "compact"}, {"compression.type", "producer"}, {"segment.bytes", std::to_string(config_.get_int("offsets.topic.segment.bytes"))}};
      } else if (name == kTransactionStateTopic) {
        topic.config = {{"cleanup.policy", "compact"}, {"compression.type", "uncompressed"}, {"unclean.leader.election.enable", "false"},
                        {"min.insync.replicas", "1"},  // this broker's
                        {"segment.bytes", std::to_string(config_.get_int("transaction.state.log.segment.bytes"))}};
      } else if (compacted) {
        once_compacted_.push_back(name);
      } else {
        keep_every_record(name, topic);
      }
    }
    note("the number of partitions is the highest folder + 1; a last partition that is on no log dir here cannot be noticed");
  }

  // The log dirs do not say how long records are wanted. The policy: log.cleanup.policy may be another one.
  void keep_every_record(const std::string& name, PlannedTopic& topic) {
    topic.config = {{"cleanup.policy", "delete"}, {"retention.bytes", "-1"}, {"retention.ms", "-1"}};
    kept_.push_back(name);
  }

  // Kafka leaves a topic in the cleaner's checkpoint when its policy becomes `delete`: an entry is no proof that it is compacted now, and
  // compacting one that is not loses records. Without a proof of the contrary it stays a compacted one, for Connect and registries start on
  // no other, but nothing is compacted.
  void guess_policies() {
    std::vector<std::string> with_keys;
    for (const std::string& name : once_compacted_) {
      PlannedTopic& topic = plan_.topics[name];
      if (std::any_of(topic.partitions.begin(), topic.partitions.end(), [](const auto& each) { return each.second.tail.keyless; })) {
        note("topic {} was compacted once, but its newest records have no key, which a compacted topic does not take: it gets cleanup.policy=delete", name);
        keep_every_record(name, topic);
        continue;
      }
      const std::string never = std::to_string(INT64_MAX);
      topic.config = {{"cleanup.policy", "compact"}, {"min.compaction.lag.ms", never}};
      // It may not be less than the other.
      if (config_.get_long("log.cleaner.max.compaction.lag.ms") < INT64_MAX) topic.config["max.compaction.lag.ms"] = never;
      with_keys.push_back(name);
    }
    if (!kept_.empty()) {
      std::sort(kept_.begin(), kept_.end());
      note("configs of topics are in ZooKeeper only. These keep every record (cleanup.policy=delete, retention.ms and retention.bytes -1) until you set their configs: {}", listed(kept_));
    }
    if (!with_keys.empty()) {
      note("the log cleaner has worked on these topics: they are compacted, or were so once; their configs, which told, are lost. They get cleanup.policy=compact "
           "with min.compaction.lag.ms={}: nothing is removed from them until you set their configs. If a topic is compacted, delete its min.compaction.lag.ms; "
           "if not, set cleanup.policy=delete too: {}",
           INT64_MAX, listed(with_keys));
    }
  }

  // --- logs ------------------------------------------------------------------------------------------------------------------

  Result<void> scan_logs() {
    int64_t partitions = 0, records = 0, bytes = 0;
    std::map<std::string, int64_t> reasons;
    std::map<std::string, int64_t> groups;
    std::vector<TransactionTopic::Open> open;
    int64_t transactional_ids = 0;
    std::map<int64_t, std::vector<std::string>> open_at;  // producer id → where
    for (auto& [name, topic] : plan_.topics) {
      int64_t topic_records = 0;
      for (auto& [number, folder] : topic.partitions) {
        TopicPartition tp{name, number};
        auto tail = read_tail(files_, folder.path);
        if (!tail) {
          if (tail.error().code == kStorageErrorCode && tail.error().os_error != 0) return fail(tail.error());
          refuse("{}: {}", folder.path, tail.error().what);
          continue;
        }
        folder.tail = std::move(*tail);
        ++partitions;
        topic_records += folder.tail.end - folder.tail.start;
        bytes += folder.tail.size_bytes;
        for (const auto& producer : folder.tail.producers) {
          greatest_producer_ = std::max(greatest_producer_, producer.producer_id.value);
          if (producer.current_txn_first_offset.value >= 0) {
            open_at[producer.producer_id.value].push_back(fmt::format("{} from offset {}", tp.to_string(), producer.current_txn_first_offset.value));
          }
        }
        if (name == kGroupMetadataTopic) {
          auto read = read_group_topic(files_, folder.path);
          if (!read) {
            refuse("{}", read.error().what);
            continue;
          }
          for (const auto& [group, count] : read->groups) groups[group] += count;
          for (const auto& [reason, count] : read->reasons) reasons[reason] += count;
          if (!read->rewritten.empty()) plan_.rewritten[tp] = std::move(read->rewritten);
        } else if (name == kTransactionStateTopic) {
          auto read = read_transaction_topic(files_, folder.path);
          if (!read) {
            refuse("{}", read.error().what);
            continue;
          }
          transactional_ids += read->ids;
          greatest_producer_ = std::max(greatest_producer_, read->greatest_producer_id);
          open.insert(open.end(), read->open.begin(), read->open.end());
          for (const auto& [reason, count] : read->reasons) reasons[reason] += count;
          if (!read->rewritten.empty()) plan_.rewritten[tp] = std::move(read->rewritten);
        }
      }
      records += topic_records;
      fact("topic {}: {} partitions, {} offsets, id {}", name, topic.partitions.size(), topic_records, topic.id ? topic.id->to_string() : "none (the controller makes one)");
    }
    fact("in all {} topics, {} partitions, {} offsets, {} bytes", plan_.topics.size(), partitions, records, bytes);
    std::vector<std::string> group_names;
    for (const auto& [group, count] : groups) group_names.push_back(fmt::format("{} ({})", group, count));
    if (!groups.empty()) fact("groups (committed offsets): {}", listed(group_names));
    if (transactional_ids > 0) fact("{} transactional ids", transactional_ids);
    for (const auto& [reason, count] : reasons) note("internal topics: {} times {}, appended at the end", count, reason);
    if (reduced_ > 0) note("{} partitions had replicas elsewhere: from now on this broker alone has them", reduced_);
    report_open(open, open_at);
    return {};
  }

  void report_open(const std::vector<TransactionTopic::Open>& open, std::map<int64_t, std::vector<std::string>>& open_at) {
    std::vector<std::string> lines;
    for (const auto& each : open) {
      std::string where = listed(open_at[each.producer_id]);
      open_at.erase(each.producer_id);
      lines.push_back(fmt::format("transactional id {} (producer {}) is {}{}{}", each.id, each.producer_id, each.state, where.empty() ? "" : ": ", where));
    }
    for (const auto& [producer, where] : open_at) {
      if (!where.empty()) lines.push_back(fmt::format("a transaction of producer {} is open: {}", producer, listed(where)));
    }
    if (lines.empty()) return;
    if (!allow_open_) {
      for (const std::string& line : lines) {
        refuse("{}. This release serves no transactions, so nobody would end it and read_committed readers would wait there. Start Kafka and let it end "
               "(kafka-transactions.sh abort), or adopt with --allow-open-transactions",
               line);
      }
    } else {
      for (const std::string& line : lines) note("{}: read_committed readers wait there until a coordinator ends it", line);
    }
  }

  // --- the tree --------------------------------------------------------------------------------------------------------------

  void make_tree() {
    namespace paths = metadata::paths;
    metadata::TreeContent& tree = plan_.tree;
    put_node(tree, paths::kClusterId, metadata::encode_cluster_id(plan_.cluster_id));
    const int32_t controller_epoch = std::max(1, image_.last_epoch);
    put_node(tree, paths::kControllerEpoch, metadata::encode_controller_epoch(controller_epoch));
    std::vector<std::string> left_out;
    if (plan_.kraft) {
      put_configs(image_, config_, tree, left_out);
      put_users_and_quotas(image_, tree, left_out);
      put_acls(image_, tree, left_out);
      put_tokens(image_, tree);
      if (!image_.scram.empty() || !image_.quotas.empty() || !image_.acls.empty() || !image_.tokens.empty()) {
        fact("{} SCRAM credentials, {} entities with quotas, {} ACLs, {} delegation tokens", image_.scram.size(), image_.quotas.size(), image_.acls.size(),
             image_.tokens.size());
      }
    }
    for (const std::string& line : left_out) note("left out: {}", line);
    for (auto& [name, topic] : plan_.topics) {
      metadata::TopicNode node;
      node.id = topic.id;
      put_node(tree, paths::partitions(name), {});
      for (const auto& [number, folder] : topic.partitions) {
        node.partitions[number] = {plan_.broker};
        // Above every epoch that any replica of it can have seen.
        int32_t epoch = std::max(folder.tail.epoch.value, kraft_epochs_.contains({name, number}) ? kraft_epochs_[{name, number}] : -1) + 1;
        put_node(tree, paths::partition_state(name, number),
                 metadata::encode_partition_state({controller_epoch, plan_.broker, LeaderEpoch{epoch}, {plan_.broker}, false}));
      }
      put_node(tree, paths::topic(name), metadata::encode_topic(node));
      if (!plan_.kraft) {
        put_node(tree, paths::topic_config(name), metadata::encode_config(topic.config));
      } else if (auto data = metadata::decode_config(tree[paths::topic_config(name)].data)) {
        topic.config = std::move(*data);
      }
      if (!topic.config.empty()) {
        std::string text;
        for (const auto& [key, value] : topic.config) text += fmt::format("{}{}={}", text.empty() ? "" : ", ", key, value);
        fact("configs of {}: {}", name, text);
      }
    }
    int64_t next = image_.next_producer_id;
    if (greatest_producer_ >= 0) next = std::max(next, (greatest_producer_ / kIdBlock + 1) * kIdBlock);
    if (!plan_.kraft && next > 0) next += kBlocksUnderWay * kIdBlock;
    if (next > 0) {
      put_node(tree, paths::kProducerIdBlock, metadata::encode_producer_id_block({plan_.broker, std::max<int64_t>(0, next - kIdBlock), next - 1}));
      fact("producer ids begin at {}", next);
    }
  }

  base::FileSystem& files_;
  const config::BrokerConfig& config_;
  const bool allow_open_;
  Plan plan_;
  std::string metadata_folder_;
  MetadataImage image_;
  std::map<TopicPartition, Folder> folders_;
  std::set<TopicPartition> taken_;
  std::map<TopicPartition, int32_t> kraft_epochs_;
  std::vector<std::string> kept_;
  std::vector<std::string> once_compacted_;  // named in the cleaner's checkpoint
  int64_t reduced_ = 0;
  int64_t greatest_producer_ = -1;
};

}  // namespace

Result<Plan> inspect(base::Runtime& runtime, const config::BrokerConfig& config, bool allow_open_transactions) {
  return Inspection(runtime, config, allow_open_transactions).run();
}

}  // namespace odradek::adopt
