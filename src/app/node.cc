#include "app/node.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <set>

#include "adopt/adoption.h"
#include "app/broker_channel.h"
#include "app/controller_link.h"
#include "app/leader_links.h"
#include "app/settings.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "config/topic_config.h"
#include "controller/controller.h"
#include "controller/membership.h"
#include "controller/topic_admin.h"
#include "coordinator/group/group_coordinator.h"
#include "coordinator/runtime/replica_log_access.h"
#include "metadata/cluster_config.h"
#include "metadata/image/image_waits.h"
#include "metadata/producer_ids.h"
#include "metadata/registration.h"
#include "metadata/store/embedded_store.h"
#include "replication/replica_manager.h"
#include "replication/sessions/fetch_pipeline.h"
#include "replication/sessions/fetch_session.h"
#include "storage/cleaner/cleaner.h"
#include "storage/log_manager.h"
#include "storage/scrubber/scrubber.h"

namespace odradek::app {

namespace {
constexpr const char* kUncleanElection = "unclean.leader.election.enable";
}  // namespace

// In the order of making; destroyed in the reverse order.
struct Node::Parts {
  Parts(base::Runtime& r, Waiter& w, net::Links& l, std::shared_ptr<const config::BrokerConfig> c)
      : runtime(r), waiter(w), links(l), config(std::move(c)), registry(r.clock()) {}

  base::Runtime& runtime;
  Waiter& waiter;
  net::Links& links;
  config::ConfigHolder config;
  metrics::Registry registry;
  std::unique_ptr<base::Executor> metadata_executor;
  std::unique_ptr<base::Executor> control_executor;  // the controller's requests to this broker
  std::unique_ptr<storage::LogManager> logs;
  std::unique_ptr<storage::Scrubber> scrubber;
  std::unique_ptr<storage::Cleaner> cleaner;
  std::unique_ptr<metadata::Store> store;
  std::unique_ptr<metadata::ConfigStore> config_store;
  metadata::ImageHolder image;
  std::unique_ptr<metadata::ImageWaits> image_waits;
  std::unique_ptr<replication::LeaderLinks> leader_links;
  std::unique_ptr<replication::ReplicaManager> replicas;
  std::unique_ptr<replication::FetchSessionCache> fetch_sessions;
  std::unique_ptr<replication::FetchPipelines> fetch_pipelines;
  std::unique_ptr<coordinator::ReplicaLogAccess> log_access;
  std::unique_ptr<coordinator::GroupCoordinator> groups;
  std::unique_ptr<controller::Controller> controller;
  std::unique_ptr<controller::TopicAdmin> topic_admin;
  std::unique_ptr<controller::Membership> membership;
  std::unique_ptr<ControllerLink> controller_link;
  std::unique_ptr<metadata::ProducerIds> producer_ids;
  std::optional<api::Services> services;
  std::unique_ptr<api::Dispatcher> dispatcher;
  BrokerId self = kNoBroker;  // broker.id, or what was generated for it
  bool joining = false;  // asked to be registered: it may be, whatever became of that
  bool joined = false;
  std::atomic<int64_t> broker_epoch{-1};
  std::atomic<bool> warned_of_transactions{false};

  config::TopicConfigValues topic_config(std::string_view topic) const {
    auto overrides = config_store->topic(topic);
    return config::effective_topic_config(*config.current(), overrides ? *overrides : config::Properties());
  }
  // Shared by all logs of a topic.
  std::shared_ptr<const storage::LogConfig> log_config(std::string_view topic) const {
    return std::make_shared<const storage::LogConfig>(storage::make_log_config(topic_config(topic)));
  }
  // Asked for each partition when this broker becomes the controller: cheap where the topic says nothing of its own.
  bool unclean_election(std::string_view topic) const {
    auto overrides = config_store->topic(topic);
    return overrides && overrides->contains(kUncleanElection) ? topic_config(topic).get_bool(kUncleanElection) : config.current()->get_bool(kUncleanElection);
  }

  Result<std::string> identify();
  void make_rooms(const std::string& cluster_id);
  void follow_config_changes();
  void renew_log_configs();
  void take_log_config(storage::Log& log, std::shared_ptr<const storage::LogConfig> settings) {
    if (replicas) {
      replicas->update_log_config(log.name(), std::move(settings));  // its partition follows too
    } else {
      log.update_config(std::move(settings));
    }
  }
};

Node::Node(base::Runtime& runtime, Waiter& waiter, net::Links& links, std::shared_ptr<const config::BrokerConfig> config)
    : parts_(std::make_unique<Parts>(runtime, waiter, links, std::move(config))) {}
// What is still parked is answered while everything that its answer needs is there.
Node::~Node() {
  if (parts_->services) answer_parked();
}

request::RequestSink& Node::sink() { return *parts_->dispatcher; }
config::ConfigHolder& Node::config() { return parts_->config; }
metrics::Registry& Node::registry() { return parts_->registry; }
storage::LogManager& Node::logs() { return *parts_->logs; }
replication::ReplicaManager& Node::replicas() { return *parts_->replicas; }
const metadata::ImageHolder& Node::image() const { return parts_->image; }
replication::FetchSessionCache& Node::fetch_sessions() { return *parts_->fetch_sessions; }
controller::Controller& Node::controller() { return *parts_->controller; }
controller::Membership& Node::membership() { return *parts_->membership; }
metadata::Store& Node::store() { return *parts_->store; }

Node::OpenStore configured_store(base::Runtime& runtime, const config::BrokerConfig& config) {
  std::string folder = config.metadata_log_dir();
  std::string file = folder + "/" + metadata::kEmbeddedStoreFile;
  if (auto zookeeper = zookeeper_settings(config)) {
    return [&runtime, file, options = zookeeper->store](base::Executor& callbacks) -> Result<std::unique_ptr<metadata::Store>> {
      if (runtime.files().exists(file)) {
        return fail(ErrorCode::kInvalidConfig, file + " holds the metadata of these log dirs, and it is not moved to ZooKeeper: remove zookeeper.connect, "
                                                      "or use other log dirs");
      }
      return metadata::make_zookeeper_store(runtime, callbacks, options);
    };
  }
  return [&runtime, &config, folder, file](base::Executor& callbacks) -> Result<std::unique_ptr<metadata::Store>> {
    if (std::string why = adopt::unadopted(runtime.files(), config); !why.empty()) return fail(ErrorCode::kInvalidConfig, why);
    if (auto made = runtime.files().create_directories(folder); !made) return fail(made.error());
    return metadata::make_embedded_store(runtime, callbacks, file);
  };
}

Result<void> Node::open(const OpenStore& open_store) {
  Parts& parts = *parts_;
  auto settings = parts.config.current();
  parts.metadata_executor = parts.runtime.make_executor("metadata", 1);
  parts.control_executor = parts.runtime.make_executor("control", 1);
  parts.logs = std::make_unique<storage::LogManager>(parts.runtime, storage::make_log_manager_options(*settings), parts.registry);
  // The log dirs are locked from here on: nobody else works on them or on the store inside.
  if (auto locked = parts.logs->lock_dirs(); !locked) return locked;
  auto store = open_store(*parts.metadata_executor);
  if (!store) return fail(store.error());
  parts.store = std::move(*store);
  metadata::on_full_disk(*parts.store, [&parts, folder = settings->metadata_log_dir()] { return parts.logs->make_room(folder); });
  parts.config_store = std::make_unique<metadata::ConfigStore>(parts.runtime, *parts.metadata_executor, *parts.store, &is_own_config_key);
  parts.membership = std::make_unique<controller::Membership>(parts.runtime, *parts.metadata_executor, *parts.store, *parts.config_store);
  auto cluster_id = parts.identify();
  if (!cluster_id) return fail(cluster_id.error());
  log::info("app", "broker {} of cluster {}", parts.self.value, *cluster_id);

  parts.follow_config_changes();
  if (auto found = parts.logs->begin([&parts](const std::string& topic) { return parts.log_config(topic); }); !found) return found;
  parts.scrubber = std::make_unique<storage::Scrubber>(parts.runtime, *parts.logs, storage::make_scrubber_options(*parts.config.current()), parts.registry);
  parts.scrubber->start();
  parts.cleaner = std::make_unique<storage::Cleaner>(parts.runtime, *parts.logs, storage::make_cleaner_options(*parts.config.current()), parts.registry);
  parts.make_rooms(*cluster_id);
  parts.replicas->start();
  parts.groups->start();
  parts.cleaner->start();
  return {};
}

// The cluster's id, after log dirs, store and configuration agree on who this is.
Result<std::string> Node::Parts::identify() {
  auto known = logs->read_identity();
  if (!known) return fail(known.error());
  std::string known_cluster = known->cluster_id.value_or("");
  auto zookeeper = zookeeper_settings(*config.current());
  auto limit = std::chrono::milliseconds(zookeeper ? zookeeper->connection_timeout_ms : 30'000);
  auto session = wait_for<void>(waiter, [&](auto reply) { membership->open_session(std::move(reply)); }, "opening the metadata store", limit);
  if (!session && zookeeper && session.error().code == ErrorCode::kRequestTimedOut) {
    return fail(ErrorCode::kRequestTimedOut, "ZooKeeper at " + zookeeper->store.connect + " (zookeeper.connect) did not answer within " +
                                                 std::to_string(limit.count()) + " ms (zookeeper.connection.timeout.ms): is it running, and is that its address?");
  }
  if (!session) return fail(session.error());
  // What is read then takes as long as it takes: the cluster may be large.
  constexpr std::chrono::minutes kEnterWait{5};
  auto connected = wait_for<controller::Connected>(
      waiter, [&](auto reply) { membership->connect(known_cluster, std::move(reply)); }, "reading the cluster's settings", kEnterWait);
  if (!connected) return fail(connected.error());
  if (!known_cluster.empty() && known_cluster != connected->cluster_id) {
    return fail(ErrorCode::kInconsistentClusterId, "the log dirs belong to cluster " + known_cluster + " (meta.properties), the metadata store to " +
                                                       connected->cluster_id + ": use the log dirs of this cluster, or the store that belongs to them");
  }
  BrokerId id = config.current()->broker_id();
  if (id == kNoBroker) {
    if (known->broker_id) {
      id = *known->broker_id;
    } else {
      auto generated = wait_for<BrokerId>(
          waiter,
          [&](auto reply) {
            metadata_executor->post([this, reply = std::move(reply)]() mutable {
              metadata::generate_broker_id({runtime, *metadata_executor, *store}, config.current()->get_int("reserved.broker.max.id"), std::move(reply));
            });
          },
          "drawing a broker id");
      if (!generated) return fail(generated.error());
      id = *generated;
    }
  }
  if (known->broker_id && *known->broker_id != id) {
    return fail(ErrorCode::kInvalidConfig, "broker.id is " + std::to_string(id.value) + " but the log dirs belong to broker " +
                                               std::to_string(known->broker_id->value) + " (meta.properties): set broker.id to that, or use other log dirs");
  }
  if (auto written = logs->write_identity(connected->cluster_id, id); !written) return fail(written.error());
  self = id;
  return connected->cluster_id;
}

void Node::Parts::make_rooms(const std::string& cluster_id) {
  auto settings = config.current();
  image_waits = std::make_unique<metadata::ImageWaits>(runtime, image);
  replication::ReplicaManagerOptions replica_options;
  replica_options.self = self;
  replica_options.replica_lag_time_max_ms = settings->get_long("replica.lag.time.max.ms");
  replica_options.log_config = [this](const std::string& topic) { return log_config(topic); };
  leader_links = make_leader_links(runtime, links, image, leader_link_options(*settings, self));
  replica_options.leader_links = leader_links.get();
  replica_options.fetcher = replication::make_fetcher_options(*settings, self);
  replica_options.throttle_window = {settings->get_int("replication.quota.window.num"), settings->get_int("replication.quota.window.size.seconds") * 1000ll};
  replica_options.log_dirs_throttle_window = {settings->get_int("alter.log.dirs.replication.quota.window.num"),
                                              settings->get_int("alter.log.dirs.replication.quota.window.size.seconds") * 1000ll};
  replica_options.log_dir_threads = settings->get_int("num.replica.alter.log.dirs.threads");
  replica_options.on_log_dirs_changed = [this] {
    metadata_executor->post([this] { metadata::report_log_dir_event({runtime, *metadata_executor, *store}, self); });
  };
  replicas = std::make_unique<replication::ReplicaManager>(runtime, *logs, image, replica_options, registry);
  set_replication_limits(*settings, replicas->quotas());
  fetch_sessions = std::make_unique<replication::FetchSessionCache>(
      runtime.clock(), runtime.random(), static_cast<size_t>(settings->get_int("max.incremental.fetch.session.cache.slots")));
  fetch_pipelines = std::make_unique<replication::FetchPipelines>(runtime, *replicas);

  log_access = std::make_unique<coordinator::ReplicaLogAccess>(*replicas);
  groups = std::make_unique<coordinator::GroupCoordinator>(
      runtime, *log_access,
      [this] {
        auto current = image.current();
        const metadata::TopicImage* topic = current->find_topic(kGroupMetadataTopic);
        return topic == nullptr ? 0 : static_cast<int32_t>(topic->partitions.size());
      },
      group_config(*settings));
  groups->register_metrics(registry);
  replicas->add_listener(*groups);
  image.subscribe([this, shared_tree = zookeeper_settings(*settings).has_value()](const metadata::ImageChange& change) {
    if (!change.deleted_partitions.empty()) groups->on_partitions_deleted(change.deleted_partitions);
    for (const TopicPartition& tp : change.deleted_partitions) config_store->forget_topic(tp.topic);
    // Those of which this broker has no replica too: as controller it asks whether their elections may be unclean.
    if (!change.changed_topics.empty()) config_store->ensure_topics(change.changed_topics, [] {});
    if (shared_tree && change.now->find_topic(kTransactionStateTopic) != nullptr && !warned_of_transactions.exchange(true)) {
      log::error("app", "another broker has made {}: this version does not serve transactions, a partition of it that is led here refuses its producers; "
                        "stop this broker before transactions are used", kTransactionStateTopic);
    }
  });

  auto local = std::make_shared<controller::LocalBroker>();
  local->leader_and_isr = [this](const protocol::LeaderAndIsrRequest& request) { return replicas->apply(request); };
  local->prepare_topics = [this](const protocol::LeaderAndIsrRequest& request, Task then) {
    controller::prepare_topics(*config_store, request, std::move(then));
  };
  local->update_metadata = [this](const protocol::UpdateMetadataRequest& request) { return replicas->apply(request); };
  local->stop_replica = [this](const protocol::StopReplicaRequest& request) { return replicas->apply(request); };
  auto how_to_rule = controller_options(*settings, self, [this](const std::string& topic) { return unclean_election(topic); });
  how_to_rule.told = [this] { return image.current(); };
  if (auto zookeeper = zookeeper_settings(*settings)) how_to_rule.silence_ms = int64_t{zookeeper->store.session_timeout_ms} * 2;
  controller = std::make_unique<controller::Controller>(
      runtime, *metadata_executor, *store,
      [this, local, how = broker_channel_options(*settings, self)](const metadata::BrokerInfo& to) {
        return to.id == self ? controller::make_local_channel(*control_executor, local) : make_network_channel(*metadata_executor, links, to, how);
      },
      std::move(how_to_rule));
  controller->register_metrics(registry);
  // On its own node a cluster is as large as it will be; in ZooKeeper's tree the other brokers are waited for, as Kafka does.
  const bool fewer_replicas = !zookeeper_settings(*settings);
  topic_admin = std::make_unique<controller::TopicAdmin>(runtime, *metadata_executor, *store, image, config, fewer_replicas);
  controller_link = std::make_unique<ControllerLink>(*metadata_executor, links, image, *controller, controller_link_options(*settings, self));
  replicas->set_alter_partition_channel(controller_link.get());
  producer_ids = std::make_unique<metadata::ProducerIds>(runtime, self, *controller_link);

  services.emplace(api::Services{runtime, *logs, *replicas, *fetch_sessions, *fetch_pipelines, *groups, image, *config_store, *store, *image_waits, *producer_ids,
                                 *controller, *topic_admin, config, registry, self, cluster_id, settings->get_int("fetch.max.bytes")});
  dispatcher = std::make_unique<api::Dispatcher>(*services);
}

void Node::Parts::follow_config_changes() {
  // Topics: new settings for their logs. Brokers: a new snapshot, whose subscribers follow.
  auto follow = [this](const metadata::ConfigEntity& entity, const config::Properties& now) {
    using metadata::EntityType;
    if (entity.type == EntityType::kTopic) {
      auto settings = log_config(entity.name);
      logs->configs_changed();
      for (const auto& log : logs->all()) {
        if (log->name().topic == entity.name) take_log_config(*log, settings);
      }
      if (controller && unclean_election(entity.name)) controller->on_unclean_election_enabled(entity.name);
    } else if (entity.type == EntityType::kBroker && entity.name == metadata::kDefaultEntity) {
      config.apply_dynamic(config::DynamicScope::kClusterDefault, now);
    } else if (entity == metadata::ConfigEntity::broker(self)) {
      config.apply_dynamic(config::DynamicScope::kThisBroker, now);
    }
  };
  // What was loaded before is not told again.
  for (const auto& entity : {metadata::ConfigEntity::broker_default(), metadata::ConfigEntity::broker(self)}) {
    if (auto now = config_store->find(entity)) follow(entity, *now);
  }
  config_store->subscribe(follow);
  config.subscribe([this](const config::BrokerConfig& before, const config::BrokerConfig& now) {
    renew_log_configs();
    if (controller && !before.get_bool(kUncleanElection) && now.get_bool(kUncleanElection)) controller->on_unclean_election_enabled("");
    if (replicas) {
      replicas->set_fetcher_count(now.get_int("num.replica.fetchers"));
      set_replication_limits(now, replicas->quotas());
    }
    if (cleaner) cleaner->reconfigure(storage::make_cleaner_options(now));
  });
}

// Defaults of topics may have changed.
void Node::Parts::renew_log_configs() {
  absl::flat_hash_map<std::string, std::shared_ptr<const storage::LogConfig>> by_topic;
  logs->configs_changed();
  for (const auto& log : logs->all()) {
    auto& settings = by_topic[log->name().topic];
    if (!settings) settings = log_config(log->name().topic);
    take_log_config(*log, settings);
  }
}

Result<void> Node::join(std::vector<metadata::Endpoint> endpoints, const std::function<void()>& registered_now) {
  Parts& parts = *parts_;
  metadata::BrokerInfo info;
  info.id = parts.self;
  info.endpoints = std::move(endpoints);
  auto settings = parts.config.current();
  if (!settings->is_null("broker.rack")) info.rack = settings->get_string("broker.rack");
  controller::JoinOptions options;
  std::chrono::milliseconds limit(30'000);
  if (auto zookeeper = zookeeper_settings(*settings)) {
    // The server measures in ticks of its own, and may have started late.
    options.refuse_transactions = true;
    for (const TopicPartition& tp : parts.logs->partitions()) options.holds_transactions |= tp.topic == kTransactionStateTopic;
    options.wait_for_former_ms = int64_t{zookeeper->store.session_timeout_ms} * 3 / 2;
    limit += std::chrono::milliseconds(options.wait_for_former_ms);
  }
  parts.joining = true;
  auto registered = wait_for<void>(
      parts.waiter,
      [&](auto reply) {
        parts.membership->join(
            std::move(info), *parts.controller, options,
            [&parts](int64_t epoch) {
              parts.broker_epoch = epoch;
              parts.replicas->set_broker_epoch(epoch);
              parts.producer_ids->set_broker_epoch(epoch);
            },
            std::move(reply));
      },
      "registration", limit);
  if (!registered) return registered;
  parts.joined = true;
  parts.dispatcher->hold_clients();
  registered_now();
  constexpr std::chrono::milliseconds kImageWait{30'000};
  auto known = wait_for<bool>(
      parts.waiter,
      [&](auto reply) {
        parts.image_waits->wait([self = parts.self](const metadata::ClusterImage& now) { return now.is_alive(self) && now.controller() != kNoBroker; },
                                kImageWait.count(), [reply = std::move(reply)](bool holds) mutable { reply(holds); });
      },
      "the first word of the controller", 2 * kImageWait);
  if (!known) return fail(known.error());
  if (!*known) {
    // In a cluster it may be another broker that is slow; it will send everything when it can.
    if (!zookeeper_settings(*settings)) return fail(ErrorCode::kRequestTimedOut, "no controller within 30 s");
    log::error("app", "no controller has spoken to this broker for 30 s after it registered: its clients are served now, and hear of no topic before that; "
                      "look at the broker that /controller names");
    parts.dispatcher->serve_clients();
    return {};
  }

  constexpr std::chrono::milliseconds kLoadWait{150};

  // After a restart the controller names brokers first and partitions a moment later: clients must not hear meanwhile that their
  // topics are unknown. Logs of topics that are being deleted never show up, so this has an end.
  constexpr std::chrono::milliseconds kTopicsWait{5'000};
  std::set<std::string> here;
  for (const TopicPartition& tp : parts.logs->partitions()) here.insert(tp.topic);
  auto shown = wait_for<bool>(
      parts.waiter,
      [&](auto reply) {
        parts.image_waits->wait(
            [here](const metadata::ClusterImage& now) {
              return std::all_of(here.begin(), here.end(), [&](const std::string& topic) { return now.find_topic(topic) != nullptr; });
            },
            kTopicsWait.count(), [reply = std::move(reply)](bool holds) mutable { reply(holds); });
      },
      "the controller's word on the topics here", 2 * kTopicsWait);
  if (!shown || !*shown) log::warn("app", "some log folders here belong to topics that the cluster does not have");
  // A partition is served when its log is ready. Where all are ready in a moment, no client need hear of those that are not.
  parts.waiter.wait([&parts](Task done) { parts.replicas->when_loaded(std::move(done)); }, kLoadWait);
  parts.dispatcher->serve_clients();
  return {};
}

void Node::hand_over() {
  Parts& parts = *parts_;
  auto settings = parts.config.current();
  if (!parts.joined || !settings->get_bool("controlled.shutdown.enable")) return;
  if (parts.store->state() != metadata::SessionState::kConnected) {
    log::warn("app", "no controlled shutdown: there is no session in which a controller could write");
    return;
  }
  const auto pause = std::chrono::milliseconds(settings->get_long("controlled.shutdown.retry.backoff.ms"));
  const int retries = settings->get_int("controlled.shutdown.max.retries");
  for (int left = retries; left > 0; --left) {
    protocol::ControlledShutdownRequest request;
    request.broker_id = parts.self.value;
    request.broker_epoch = parts.broker_epoch;
    auto answer = wait_for<protocol::ControlledShutdownResponse>(
        parts.waiter, [&](auto reply) { parts.controller_link->send(std::move(request), std::move(reply)); }, "controlled shutdown",
        std::chrono::milliseconds(settings->get_int("controller.socket.timeout.ms")));
    if (answer && answer->error_code == 0 && answer->remaining_partitions.empty()) {
      log::info("app", "controlled shutdown: other brokers lead what was led here");
      return;
    }
    std::string why = !answer                  ? answer.error().what
                      : answer->error_code != 0 ? std::string(name_of(static_cast<ErrorCode>(answer->error_code)))
                                                : std::to_string(answer->remaining_partitions.size()) + " partitions have no other replica in sync";
    log::warn("app", "controlled shutdown: {}{}", why, left > 1 ? ", trying again" : "");
    if (left > 1) parts.waiter.wait([&](Task done) { parts.runtime.timers().after(pause, std::move(done)); }, pause * 2);
  }
  log::warn("app", "stopping without a controlled shutdown after {} attempts (controlled.shutdown.max.retries)", retries);
}

void Node::answer_parked() {
  parts_->dispatcher->refuse_held();
  parts_->groups->stop();
  parts_->image_waits->stop();
  parts_->replicas->stop();
  parts_->fetch_pipelines->stop();
}

void Node::leave() {
  Parts& parts = *parts_;
  if (parts.joining) parts.waiter.wait([&](Task done) { parts.membership->leave(std::move(done)); }, std::chrono::milliseconds(30'000));
  // What the controller of this process had sent to its own broker ends before the replicas do; one thread after the other, so that none is inside
  // the other's executor when that ends.
  for (base::Executor* executor : {parts.metadata_executor.get(), parts.control_executor.get()}) {
    parts.waiter.wait([&](Task done) { executor->post(std::move(done)); }, std::chrono::milliseconds(30'000));
  }
  if (parts.scrubber) parts.scrubber->stop();
  if (parts.cleaner) parts.cleaner->stop();
  parts.logs->stop();
}

}  // namespace odradek::app
