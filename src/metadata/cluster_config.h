// The configs that the cluster keeps: of topics, brokers, clients, users and addresses. Kept in /config/..., keys of our own in
// /odradek/config/... of the same form (a Kafka broker would refuse later alters of an entity with keys it does not know).
// A change is written by any broker and takes effect everywhere, here too, through the notification alone (/config/changes).
// Source: zookeeper.md §7.
// Thread: any; listeners run on the metadata executor.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.h"
#include "base/function.h"
#include "base/mutex.h"
#include "base/result.h"
#include "config/config.h"
#include "metadata/config_entity.h"
#include "metadata/store/store.h"

namespace odradek::metadata {

using config::Properties;

class ConfigStore {
 public:
  using Listener = std::function<void(const ConfigEntity&, const Properties& now)>;
  // Gives the entity's new whole set from the present one (keys of both places together), or an error for the client.
  // Runs on the metadata executor.
  using Change = UniqueFunction<Result<Properties>(const Properties& present)>;

  // `is_own_key(type, name)`: keys that Kafka does not know. `executor`: single-threaded, the one that the store calls back on.
  ConfigStore(base::Runtime& runtime, base::Executor& executor, Store& store, std::function<bool(EntityType, std::string_view)> is_own_key);
  ~ConfigStore();

  // Sets the watch, then reads every entity; `done` after all listeners heard of each. Again after a new session.
  void load(UniqueFunction<void(Result<void>)> done);
  // For the life of this object. Told of each entity that load() or a notification finds changed from now on.
  void subscribe(Listener listener);

  // What is in force here. Empty: none.
  std::shared_ptr<const Properties> find(const ConfigEntity& entity) const;
  std::shared_ptr<const Properties> topic(std::string_view name) const;

  // Reads what is not known yet of these topics: the configs of a new topic come without a notification, so this stands before the
  // first use of its settings (LeaderAndIsr). `then` runs on the metadata executor, or at once if there is nothing to read; also when
  // reading failed.
  void ensure_topics(std::vector<std::string> topics, Task then);
  // `then` when listeners have heard of every change that was notified before, or there is no session. On the metadata executor.
  void after_changes(Task then);
  // A topic was deleted: what is known of it is dropped, also what is being read now.
  void forget_topic(const std::string& topic);

  // The store's own word, newer than find().
  void read(const ConfigEntity& entity, UniqueFunction<void(Result<Properties>)> done);
  // Reads, changes, writes, notifies. validate_only: nothing is written.
  // Errors: those of `change`; kUnknownTopicOrPartition for a topic that is not there; retriable ones of the store.
  void alter(const ConfigEntity& entity, Change change, bool validate_only, UniqueFunction<void(Result<void>)> done);

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared: replies of the store may come after the end
};

}  // namespace odradek::metadata
