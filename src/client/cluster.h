// A cluster seen from outside: finds the broker that serves a request, and asks again while the answer says that it moved.
// Bootstrap addresses → Metadata (brokers, controller, leaders) and FindCoordinator, remembered until an answer shows that they
// are stale. Connections are opened when needed and kept. Waits; starts no thread.
// Errors: those of connection.h; when the patience ends, the last one seen.
// Thread: one at a time.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/random.h"
#include "client/connection.h"
#include "model/error_code.h"
#include "model/types.h"
#include "protocol/messages/metadata.h"

namespace odradek::client {

struct ClusterOptions {
  std::string bootstrap = "127.0.0.1:9092";  // host:port, several separated by commas
  ConnectionOptions connection;
  std::chrono::milliseconds patience{30'000};                // one call in all, with its repetitions
  std::chrono::milliseconds patience_unknown_topic{3'000};   // a topic that no broker knows: it may have been made just now
  std::chrono::milliseconds backoff_min{50}, backoff_max{1'000};  // between repetitions, doubling, ±20 %
};

enum class CoordinatorType : int8_t { kGroup = 0, kTransaction = 1, kShare = 2 };

// Who is asked.
struct AnyBroker {};
struct TheController {};
struct TheBroker {
  BrokerId id;
};
struct TheLeader {
  TopicPartition partition;
};
struct TheCoordinator {
  CoordinatorType type = CoordinatorType::kGroup;
  std::string key;
};
using Target = std::variant<AnyBroker, TheController, TheBroker, TheLeader, TheCoordinator>;

// Whether to ask again may help: codes that Kafka calls retriable, and that a broker who was found for something is not in the cluster
// any more; somebody else is found then.
inline bool may_pass(ErrorCode code) { return is_retriable(code) || code == ErrorCode::kBrokerNotAvailable; }

// Whether a request whose answer was lost with its connection is sent once more. kNo: it might be done twice.
enum class Resend { kYes, kNo };

class Cluster {
 public:
  // `dialer` must outlive the cluster. Nothing is connected yet.
  static Result<std::unique_ptr<Cluster>> make(net::Dialer& dialer, base::Random& random, ClusterOptions options);

  struct Broker {
    net::Endpoint address;
    std::optional<std::string> rack;
  };
  // As the last Metadata told; empty before the first.
  const std::map<BrokerId, Broker>& brokers() const { return brokers_; }
  BrokerId controller() const { return controller_; }
  const std::string& cluster_id() const { return cluster_id_; }

  // Asks for Metadata: of these topics, all topics if none are given (nullopt), no topic for an empty list. Topics are not made.
  Result<protocol::MetadataResponse> metadata(const std::optional<std::vector<std::string>>& topics);
  // `wait`: while there is none, until the patience ends.
  Result<BrokerId> leader(const TopicPartition& partition, bool wait = true);
  Result<BrokerId> coordinator(CoordinatorType type, const std::string& key);
  // An open connection to whom `target` means now; owned by the cluster, valid until the next call.
  Result<Connection*> connect(const Target& target);
  // The same for requests that stay on their way over later calls. Shared: the cluster may open another connection to this broker
  // meanwhile, the tickets of the old one still need it.
  Result<std::shared_ptr<Connection>> hold(const Target& target);
  // What the cluster knows about the leader of `partition` is stale.
  void forget_leader(const TopicPartition& partition) { leaders_.erase(partition); }
  void forget_coordinator(CoordinatorType type, const std::string& key) { coordinators_.erase({type, key}); }
  net::Dialer& dialer() const { return dialer_; }
  // Random factor around 1 for pauses, doubling from backoff_min to backoff_max.
  int64_t backoff_ns(int count) const;

  // Asks `target`. `error_of(response)` gives the code that tells whether to try again (ErrorCode::kNone: take the answer): a
  // retriable code refreshes what the target was found by and asks again; the last answer is returned when the patience ends.
  template <class Response, class Request, class ErrorOf>
  Result<Answer<Response>> ask(const Target& target, const Request& request, ErrorOf&& error_of, Resend resend = Resend::kYes) {
    Attempts attempts = begin();
    for (;;) {
      auto connection = connect(target);
      if (!connection) {
        if (!again(attempts, target, connection.error())) return fail(std::move(connection.error()));
        continue;
      }
      auto ticket = (*connection)->send(request);
      auto answer = ticket ? (*connection)->template receive<Response>(*ticket) : Result<Answer<Response>>(fail(std::move(ticket.error())));
      if (!answer) {
        bool sent = answer.error().code != ErrorCode::kUnsupportedVersion;
        if ((sent && resend == Resend::kNo) || !again(attempts, target, answer.error())) return answer;
        continue;
      }
      ErrorCode code = error_of(answer->message);
      if (code == ErrorCode::kNone || !again(attempts, target, Error{code, {}})) return answer;
    }
  }
  // For answers whose codes do not matter here.
  template <class Response, class Request>
  Result<Answer<Response>> ask(const Target& target, const Request& request) {
    return ask<Response>(target, request, [](const Response&) { return ErrorCode::kNone; });
  }

 private:
  struct Attempts {
    int64_t start_ns = 0;
    int count = 0;
  };
  Cluster(net::Dialer& dialer, base::Random& random, ClusterOptions options, std::vector<net::Endpoint> bootstrap)
      : dialer_(dialer), random_(random), options_(std::move(options)), bootstrap_(std::move(bootstrap)) {}
  Attempts begin() const { return {.start_ns = dialer_.clock().monotonic_ns()}; }
  // False: give up. True: after a pause, with stale knowledge forgotten.
  bool again(Attempts& attempts, const Target& target, const Error& error);
  Result<std::shared_ptr<Connection>> any();
  Result<std::shared_ptr<Connection>> open(const net::Endpoint& address);
  Result<std::shared_ptr<Connection>> broker(BrokerId id);
  Result<protocol::MetadataResponse> ask_metadata(const std::optional<std::vector<std::string>>& topics);
  Result<BrokerId> ask_coordinator(CoordinatorType type, const std::string& key);

  net::Dialer& dialer_;
  base::Random& random_;
  const ClusterOptions options_;
  const std::vector<net::Endpoint> bootstrap_;
  std::map<net::Endpoint, std::shared_ptr<Connection>> connections_;
  std::map<BrokerId, Broker> brokers_;
  BrokerId controller_ = kNoBroker;
  std::string cluster_id_;
  std::map<TopicPartition, BrokerId> leaders_;
  std::map<std::pair<CoordinatorType, std::string>, BrokerId> coordinators_;
};

}  // namespace odradek::client
