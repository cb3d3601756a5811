#include "metadata/cluster_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "base/clock.h"
#include "base/log.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/tree_client.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::metadata {

namespace {

constexpr int64_t kNotificationsKeptMs = 15 * 60 * 1000;

const std::shared_ptr<const Properties>& no_properties() {
  static const auto none = std::make_shared<const Properties>();
  return none;
}

bool vanishes_when_empty(EntityType type) { return type != EntityType::kTopic && type != EntityType::kBroker; }

}  // namespace

struct ConfigStore::State : std::enable_shared_from_this<ConfigStore::State> {
  State(base::Runtime& runtime, base::Executor& executor, Store& store, std::function<bool(EntityType, std::string_view)> own)
      : tree(runtime, executor, store), is_own_key(std::move(own)) {}

  static std::string kafka_path(const ConfigEntity& entity) { return paths::child(paths::kConfig, entity.path()); }
  static std::string own_path(const ConfigEntity& entity) { return paths::child(paths::kOwnConfig, entity.path()); }

  // --- reading --------------------------------------------------------------------------------------------------------------------

  static Result<Properties> merged(const StoreResult<NodeData>& kafka, const StoreResult<NodeData>& own, const std::string& path) {
    Properties all;
    for (const auto* node : {&kafka, &own}) {
      if (!*node && node->error() == StoreError::kNoNode) continue;
      if (!*node) return fail(to_error(node->error(), "read config of " + path));
      auto one = decode_config((*node)->data);
      if (!one) return fail(one.error().code, path + ": " + one.error().what);
      all.merge(*one);
    }
    return all;
  }

  Async<Result<Properties>> read(ConfigEntity entity) {
    std::vector<std::string> both;
    both.push_back(kafka_path(entity));
    both.push_back(own_path(entity));
    auto nodes = co_await tree.get_all(std::move(both));
    co_return merged(nodes[0], nodes[1], entity.path());
  }

  // One that is under way. Whoever reads much waits for long, over a lost connection too, and may be overtaken: by a change, or by the end of
  // a topic, whose settings must not meet another topic of its name.
  class Reading {
   public:
    explicit Reading(State& state) : state_(state) {
      base::MutexLock lock(state_.mutex);
      number_ = ++state_.readings;
      state_.under_way.insert(number_);
    }
    ~Reading() {
      base::MutexLock lock(state_.mutex);
      state_.under_way.erase(number_);
      if (state_.under_way.empty()) state_.forgotten.clear();
    }
    Reading(const Reading&) = delete;
    uint64_t number() const { return number_; }

   private:
    State& state_;
    uint64_t number_;
  };

  // What a reading gave, unless a later one has told of this entity already, or it was forgotten meanwhile.
  void put(const ConfigEntity& entity, Properties now, const Reading& reading) {
    std::string path = entity.path();
    auto shared = std::make_shared<const Properties>(std::move(now));
    {
      base::MutexLock lock(mutex);
      if (auto void_before = forgotten.find(path); void_before != forgotten.end() && void_before->second >= reading.number()) return;
      Known& known = configs[path];
      if (known.read > reading.number()) return;
      const bool changed = known.properties == nullptr ? !shared->empty() : *known.properties != *shared;
      known = {shared, reading.number()};
      if (!changed) return;
    }
    std::vector<std::shared_ptr<const Listener>> told;
    {
      base::MutexLock lock(mutex);
      told = listeners;
    }
    for (const auto& listener : told) (*listener)(entity, *shared);
  }

  void forget(const std::string& path) {
    base::MutexLock lock(mutex);
    configs.erase(path);
    if (!under_way.empty()) forgotten[path] = readings;
  }

  Async<Result<void>> refresh(ConfigEntity entity) {
    const Reading reading(*this);
    auto properties = co_await read(entity);
    if (!properties) co_return fail(properties.error());
    // The change was told late, the topic has gone: the next one of its name comes with settings of its own.
    if (entity.type == EntityType::kTopic) {
      auto topic = co_await tree.exists(paths::topic(entity.name));
      if (!topic && topic.error() == StoreError::kNoNode) co_return Result<void>();
    }
    put(entity, std::move(*properties), reading);
    co_return Result<void>();
  }

  // Every entity that has a node in one of the two places. A creation that failed half-way leaves configs of a topic that is not there,
  // and the next one writes others: they are read when the topic is used first (ensure_topics).
  Async<Result<std::vector<ConfigEntity>>> list_entities() {
    auto topics = co_await tree.children(paths::kTopics);
    if (!topics && topics.error() != StoreError::kNoNode) co_return fail(to_error(topics.error(), "list topics"));
    std::set<std::string> existing;
    if (topics) existing.insert(topics->names.begin(), topics->names.end());
    std::set<std::string> found;
    for (const char* root : {paths::kConfig, paths::kOwnConfig}) {
      for (const char* type : {"topics", "brokers", "clients", "users", "ips"}) {
        auto list = co_await tree.children(paths::child(root, type));
        if (!list && list.error() == StoreError::kNoNode) continue;
        if (!list) co_return fail(to_error(list.error(), "list configs"));
        for (const std::string& name : list->names) {
          if (std::string_view(type) == "topics" && !existing.contains(name)) continue;
          std::string path = paths::child(type, name);
          if (std::string_view(type) == "users") {
            auto clients = co_await tree.children(paths::child(root, path + "/clients"));
            if (clients) {
              for (const std::string& client : clients->names) found.insert(path + "/clients/" + client);
            }
          }
          found.insert(std::move(path));
        }
      }
    }
    std::vector<ConfigEntity> entities;
    for (const std::string& path : found) {
      if (auto entity = ConfigEntity::parse(path)) entities.push_back(std::move(*entity));
    }
    co_return entities;
  }

  Async<void> load([[maybe_unused]] std::shared_ptr<State> self, UniqueFunction<void(Result<void>)> done) {
    // The watch first: what changes from now on is heard of.
    auto changes = co_await tree.children(paths::kConfigChanges, watch());
    if (!changes) co_return done(fail(to_error(changes.error(), "watch /config/changes")));
    for (const std::string& name : changes->names) last_change = std::max(last_change, paths::sequence_number(name));
    const Reading reading(*this);
    auto entities = co_await list_entities();
    if (!entities) co_return done(fail(entities.error()));
    std::vector<std::string> nodes;
    for (const ConfigEntity& entity : *entities) {
      nodes.push_back(kafka_path(entity));
      nodes.push_back(own_path(entity));
    }
    auto data = co_await tree.get_all(std::move(nodes));
    for (size_t i = 0; i < entities->size(); ++i) {
      auto properties = merged(data[2 * i], data[2 * i + 1], (*entities)[i].path());
      if (properties) {
        put((*entities)[i], std::move(*properties), reading);
      } else if (properties.error().code == ErrorCode::kUnknownServerError) {
        log::error("metadata", "{}: ignored", properties.error().what);
      } else {
        co_return done(fail(properties.error()));
      }
    }
    forget_all_but(*entities, reading);
    done({});
  }

  // Quotas whose nodes were removed while this broker had no session. (What is known of topics goes with them.)
  void forget_all_but(const std::vector<ConfigEntity>& present, const Reading& reading) {
    std::set<std::string> names;
    for (const ConfigEntity& entity : present) names.insert(entity.path());
    std::vector<ConfigEntity> gone;
    {
      base::MutexLock lock(mutex);
      for (const auto& [path, known] : configs) {
        auto entity = ConfigEntity::parse(path);
        if (entity && vanishes_when_empty(entity->type) && !names.contains(path)) gone.push_back(std::move(*entity));
      }
    }
    for (const ConfigEntity& entity : gone) put(entity, {}, reading);
  }

  // --- notifications ----------------------------------------------------------------------------------------------------------------

  TreeClient::SharedWatch watch() {
    return [weak = weak_from_this()](const WatchEvent&) {
      if (auto self = weak.lock()) self->on_changes();
    };
  }

  // One walk over the list at a time; a change meanwhile makes another one.
  void on_changes() {
    changes_pending = true;
    if (walking) return;
    walking = true;
    spawn(walk(shared_from_this()));
  }

  // `then` after every change that the list holds now.
  void after_changes(Task then) {
    waiting.push_back(std::move(then));
    on_changes();
  }

  Async<void> walk([[maybe_unused]] std::shared_ptr<State> self) {
    while (std::exchange(changes_pending, false)) {
      std::vector<Task> served = std::exchange(waiting, {});
      auto list = co_await tree.children(paths::kConfigChanges, watch());
      if (list) {
        std::sort(list->names.begin(), list->names.end(),
                  [](const std::string& a, const std::string& b) { return paths::sequence_number(a) < paths::sequence_number(b); });
        co_await handle_new(list->names);
      } else if (list.error() == StoreError::kStorage) {
        log::error("metadata", "configs: {}", to_error(list.error(), "list changes").what);
      }  // else the session is over: load() comes again
      for (Task& then : served) then();
      if (list) co_await remove_old(list->names);
    }
    walking = false;
  }

  Async<void> handle_new(std::vector<std::string> names) {
    std::erase_if(names, [&](const std::string& name) { return paths::sequence_number(name) <= last_change; });
    auto nodes = co_await read_changes(names);
    for (size_t i = 0; i < names.size(); ++i) {
      if (!nodes[i]) continue;
      co_await handle(names[i], nodes[i]->data);
      last_change = std::max(last_change, paths::sequence_number(names[i]));
    }
  }

  // Each is read once in its life: the list is walked at every change, and may hold those of a quarter of an hour.
  Async<std::vector<StoreResult<NodeData>>> read_changes(std::vector<std::string> names) {
    std::vector<std::string> nodes;
    for (const std::string& name : names) nodes.push_back(paths::child(paths::kConfigChanges, name));
    auto read = co_await tree.get_all(std::move(nodes));
    for (size_t i = 0; i < names.size(); ++i) {
      if (read[i]) change_ctimes[names[i]] = read[i]->stat.ctime_ms;
    }
    co_return read;
  }

  Async<void> remove_old(std::vector<std::string> names) {
    std::vector<std::string> unread;
    for (const std::string& name : names) {
      if (!change_ctimes.contains(name)) unread.push_back(name);
    }
    co_await read_changes(std::move(unread));
    const std::set<std::string> present(names.begin(), names.end());
    std::erase_if(change_ctimes, [&](const auto& change) { return !present.contains(change.first); });
    const int64_t oldest_ms = tree.runtime().clock().wall_ms() - kNotificationsKeptMs;
    for (const std::string& name : names) {
      auto ctime_ms = change_ctimes.find(name);
      if (ctime_ms == change_ctimes.end() || ctime_ms->second >= oldest_ms) continue;
      auto removed = co_await tree.remove(paths::child(paths::kConfigChanges, name));
      if (!removed && removed.error() != StoreError::kNoNode) break;
    }
  }

  Async<void> handle(std::string name, Bytes data) {
    auto path = decode_config_change(data);
    std::optional<ConfigEntity> entity;
    if (path) entity = ConfigEntity::parse(*path);
    if (!entity) {
      log::warn("metadata", "{}: not a config change that is understood: {}", name, path ? *path : path.error().what);
      co_return;
    }
    auto done = co_await refresh(*entity);
    if (!done) log::error("metadata", "{}", done.error().what);
  }

  // --- writing ----------------------------------------------------------------------------------------------------------------------

  struct Alter {
    ConfigEntity entity;
    Change change;
    bool validate_only;
    UniqueFunction<void(Result<void>)> done;
  };

  Async<void> run_alters([[maybe_unused]] std::shared_ptr<State> self) {
    while (!alters.empty()) {
      Alter alter = std::move(alters.front());
      alters.pop_front();
      auto result = co_await run_one(alter);
      alter.done(std::move(result));
    }
    altering = false;
  }

  Async<Result<void>> run_one(Alter& alter) {
    if (alter.entity.type == EntityType::kTopic) {
      auto topic = co_await tree.exists(paths::topic(alter.entity.name));
      if (!topic && topic.error() == StoreError::kNoNode) {
        co_return fail(ErrorCode::kUnknownTopicOrPartition, fmt::format("The topic '{}' does not exist.", alter.entity.name));
      }
      if (!topic) co_return fail(to_error(topic.error(), "read topic"));
    }
    std::vector<std::string> both;
    both.push_back(kafka_path(alter.entity));
    both.push_back(own_path(alter.entity));
    auto nodes = co_await tree.get_all(std::move(both));
    auto present = merged(nodes[0], nodes[1], alter.entity.path());
    if (!present) co_return fail(present.error());
    auto wanted = alter.change(*present);
    if (!wanted) co_return fail(wanted.error());
    if (alter.validate_only) co_return Result<void>();

    Properties kafka, own;
    for (auto& [key, value] : *wanted) (is_own_key(alter.entity.type, key) ? own : kafka)[key] = value;
    auto written = co_await write(kafka_path(alter.entity), kafka, vanishes_when_empty(alter.entity.type));
    if (!written) co_return written;
    // Keys of our own have a node only while there are any.
    if (!own.empty() || nodes[1]) {
      auto own_written = co_await write(own_path(alter.entity), own, true);
      if (!own_written) co_return own_written;
    }
    auto notified = co_await notify(alter.entity.path());
    co_return notified;
  }

  // As a 3.9 broker: set under a check of /controller, create if there is no node. The check guards against a migration to KRaft.
  Async<Result<void>> write(std::string path, Properties properties, bool remove_if_empty) {
    if (properties.empty() && remove_if_empty) {
      co_return co_await remove_with_parents(path);
    }
    Bytes data = encode_config(properties);
    for (;;) {
      auto controller = co_await tree.get(paths::kController);
      std::vector<StoreOp> ops;
      if (controller) {
        auto node = decode_controller(controller->data);
        if (node && node->kraft_epoch > 0) {
          co_return fail(ErrorCode::kNotController, "configs cannot be changed: the cluster is being migrated to KRaft");
        }
        ops.push_back(StoreOp::check(paths::kController, controller->stat.version));
      }
      int32_t checks = static_cast<int32_t>(ops.size());
      ops.push_back(StoreOp::set(path, data, kAnyVersion));
      auto set = co_await tree.multi(std::move(ops));
      if (set) co_return Result<void>();
      if (set.error().op >= 0 && set.error().op < checks) continue;  // another controller meanwhile
      if (set.error().error != StoreError::kNoNode) co_return fail(to_error(set.error().error, "write " + path));
      auto created = co_await tree.ensure(std::string(parent_of(path)));
      if (!created) co_return fail(to_error(created.error(), "create " + path));
      auto node = co_await tree.create(path, data);
      if (node) co_return Result<void>();
      if (node.error() != StoreError::kNodeExists) co_return fail(to_error(node.error(), "create " + path));
    }
  }

  // The node, and the parents that it leaves empty (users/<u>/clients, users/<u>). A node with children stays, without properties.
  Async<Result<void>> remove_with_parents(std::string path) {
    auto removed = co_await tree.remove(path);
    if (!removed && removed.error() == StoreError::kNotEmpty) {
      auto emptied = co_await tree.set(path, Bytes(), kAnyVersion);
      if (!emptied) co_return fail(to_error(emptied.error(), "write " + path));
      co_return Result<void>();
    }
    if (!removed && removed.error() != StoreError::kNoNode) co_return fail(to_error(removed.error(), "remove " + path));
    // Below /config/<type>/<entity> only.
    for (std::string parent(parent_of(path)); std::count(parent.begin(), parent.end(), '/') > (parent.rfind(paths::kOwnConfig, 0) == 0 ? 3 : 2);
         parent = std::string(parent_of(parent))) {
      auto node = co_await tree.get(parent);
      if (!node || node->stat.num_children != 0) break;
      auto properties = decode_config(node->data);
      if (properties && !properties->empty()) break;
      auto gone = co_await tree.remove(parent, node->stat.version);
      if (!gone) break;
    }
    co_return Result<void>();
  }

  Async<Result<void>> notify(std::string entity_path) {
    Bytes data = encode_config_change(entity_path);
    auto created = co_await tree.create(paths::kConfigChangePrefix, data, CreateMode::kPersistentSequential);
    if (!created && created.error() == StoreError::kNoNode) {
      auto made = co_await tree.ensure(paths::kConfigChanges);
      if (!made) co_return fail(to_error(made.error(), "create /config/changes"));
      created = co_await tree.create(paths::kConfigChangePrefix, data, CreateMode::kPersistentSequential);
    }
    if (!created) co_return fail(to_error(created.error(), "notify of a config change"));
    co_return Result<void>();
  }

  Async<void> run_ensure_topics([[maybe_unused]] std::shared_ptr<State> self, std::vector<std::string> topics, Task then) {
    const Reading reading(*this);
    std::vector<std::string> nodes;
    for (const std::string& topic : topics) {
      nodes.push_back(kafka_path(ConfigEntity::topic(topic)));
      nodes.push_back(own_path(ConfigEntity::topic(topic)));
    }
    auto data = co_await tree.get_all(std::move(nodes));
    for (size_t i = 0; i < topics.size(); ++i) {
      auto properties = merged(data[2 * i], data[2 * i + 1], topics[i]);
      if (properties) {
        put(ConfigEntity::topic(topics[i]), std::move(*properties), reading);
      } else {
        log::error("metadata", "{}: topic {} starts with the broker's settings", properties.error().what, topics[i]);
      }
    }
    then();
  }

  TreeClient tree;
  const std::function<bool(EntityType, std::string_view)> is_own_key;

  mutable base::Mutex mutex;
  std::vector<std::shared_ptr<const Listener>> listeners GUARDED_BY(mutex);  // shared: told without the lock
  struct Known {
    std::shared_ptr<const Properties> properties;
    uint64_t read = 0;
  };
  absl::flat_hash_map<std::string, Known> configs GUARDED_BY(mutex);
  uint64_t readings GUARDED_BY(mutex) = 0;
  std::set<uint64_t> under_way GUARDED_BY(mutex);
  absl::flat_hash_map<std::string, uint64_t> forgotten GUARDED_BY(mutex);  // while some are under way: the last that is void

  // On the executor.
  int64_t last_change = -1;
  bool walking = false;
  bool changes_pending = false;
  std::vector<Task> waiting;  // for the next walk
  std::map<std::string, int64_t> change_ctimes;
  std::deque<Alter> alters;
  bool altering = false;
};

ConfigStore::ConfigStore(base::Runtime& runtime, base::Executor& executor, Store& store,
                         std::function<bool(EntityType, std::string_view)> is_own_key)
    : state_(std::make_shared<State>(runtime, executor, store, std::move(is_own_key))) {}
ConfigStore::~ConfigStore() = default;

void ConfigStore::load(UniqueFunction<void(Result<void>)> done) {
  state_->tree.executor().post([state = state_, done = std::move(done)]() mutable { spawn(state->load(state, std::move(done))); });
}

void ConfigStore::subscribe(Listener listener) {
  base::MutexLock lock(state_->mutex);
  state_->listeners.push_back(std::make_shared<const Listener>(std::move(listener)));
}

std::shared_ptr<const Properties> ConfigStore::find(const ConfigEntity& entity) const {
  std::string path = entity.path();
  base::MutexLock lock(state_->mutex);
  auto found = state_->configs.find(path);
  return found == state_->configs.end() ? no_properties() : found->second.properties;
}

std::shared_ptr<const Properties> ConfigStore::topic(std::string_view name) const { return find(ConfigEntity::topic(std::string(name))); }

void ConfigStore::ensure_topics(std::vector<std::string> topics, Task then) {
  {
    base::MutexLock lock(state_->mutex);
    std::erase_if(topics, [&](const std::string& topic) { return state_->configs.contains("topics/" + topic); });
  }
  if (topics.empty()) return then();
  state_->tree.executor().post([state = state_, topics = std::move(topics), then = std::move(then)]() mutable {
    spawn(state->run_ensure_topics(state, std::move(topics), std::move(then)));
  });
}

void ConfigStore::after_changes(Task then) {
  state_->tree.executor().post([state = state_, then = std::move(then)]() mutable { state->after_changes(std::move(then)); });
}

void ConfigStore::forget_topic(const std::string& topic) { state_->forget("topics/" + topic); }

void ConfigStore::read(const ConfigEntity& entity, UniqueFunction<void(Result<Properties>)> done) {
  auto run = [](std::shared_ptr<State> state, ConfigEntity which, UniqueFunction<void(Result<Properties>)> reply) -> Async<void> {
    auto properties = co_await state->read(which);
    reply(std::move(properties));
  };
  state_->tree.executor().post([run, state = state_, entity, done = std::move(done)]() mutable { spawn(run(state, entity, std::move(done))); });
}

void ConfigStore::alter(const ConfigEntity& entity, Change change, bool validate_only, UniqueFunction<void(Result<void>)> done) {
  state_->tree.executor().post([state = state_, alter = State::Alter{entity, std::move(change), validate_only, std::move(done)}]() mutable {
    state->alters.push_back(std::move(alter));
    if (std::exchange(state->altering, true)) return;
    spawn(state->run_alters(state));
  });
}

}  // namespace odradek::metadata
