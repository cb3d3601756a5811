// `listeners`, `advertised.listeners` and the keys around them.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "config/config.h"
#include "model/error_code.h"

namespace odradek::config {
namespace {

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out;
}

tl::unexpected<Error> wrong(std::string what) { return fail(ErrorCode::kInvalidConfig, std::move(what)); }

const SecurityProtocol* find_protocol(std::string_view name) {
  static constexpr SecurityProtocol kAll[] = {SecurityProtocol::kPlaintext, SecurityProtocol::kSsl, SecurityProtocol::kSaslPlaintext, SecurityProtocol::kSaslSsl};
  for (const SecurityProtocol& protocol : kAll) {
    if (name_of(protocol) == name) return &protocol;
  }
  return nullptr;
}

using ProtocolMap = std::map<std::string, SecurityProtocol, std::less<>>;

Result<ProtocolMap> read_protocol_map(const std::string& text) {
  ProtocolMap map;
  for (const std::string& element : split_csv(text)) {
    size_t colon = element.rfind(':');
    std::string name = upper(trim(std::string_view(element).substr(0, colon)));
    const SecurityProtocol* protocol = colon == std::string::npos ? nullptr : find_protocol(upper(trim(std::string_view(element).substr(colon + 1))));
    if (!protocol || name.empty()) {
      return wrong(fmt::format("Invalid value {} for configuration listener.security.protocol.map: expected NAME:PROTOCOL with one of PLAINTEXT, "
                               "SSL, SASL_PLAINTEXT, SASL_SSL", element));
    }
    if (!map.emplace(name, *protocol).second) {
      return wrong(fmt::format("Invalid value {} for configuration listener.security.protocol.map: {} stands twice", text, name));
    }
  }
  return map;
}

Result<ListenerEndpoint> read_endpoint(std::string_view key, std::string_view text, const ProtocolMap& protocols) {
  auto unreadable = [&] { return wrong(fmt::format("Invalid value {} for configuration {}: expected NAME://host:port", text, key)); };
  ListenerEndpoint endpoint;
  size_t slashes = text.find("://");
  if (slashes == text.npos || slashes == 0) return unreadable();
  endpoint.name = upper(text.substr(0, slashes));
  std::string_view address = text.substr(slashes + 3);
  size_t colon = address.rfind(':');
  if (colon == address.npos) return unreadable();
  std::string_view host = address.substr(0, colon), port = address.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  bool legal = std::all_of(host.begin(), host.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '%' || c == '.' || c == '_' || c == ':'; });
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (!legal || error != std::errc{} || end != port.data() + port.size() || endpoint.port < 0 || endpoint.port > 65535) return unreadable();
  endpoint.host = host;
  auto protocol = protocols.find(endpoint.name);
  if (protocol == protocols.end()) {
    return wrong(fmt::format("No security protocol defined for listener {}: add {}:PLAINTEXT to listener.security.protocol.map", endpoint.name, endpoint.name));
  }
  endpoint.protocol = protocol->second;
  return endpoint;
}

Result<std::vector<ListenerEndpoint>> read_endpoints(std::string_view key, const std::string& text, const ProtocolMap& protocols) {
  std::vector<ListenerEndpoint> endpoints;
  for (const std::string& element : split_csv(text)) {
    auto endpoint = read_endpoint(key, element, protocols);
    if (!endpoint) return fail(endpoint.error());
    for (const ListenerEndpoint& other : endpoints) {
      if (other.name == endpoint->name) return wrong(fmt::format("Each listener must have a different name, {}: {}", key, text));
    }
    endpoints.push_back(std::move(*endpoint));
  }
  return endpoints;
}

bool is_ipv6(std::string_view host) { return host.find(':') != host.npos; }

std::string names_of(const std::vector<ListenerEndpoint>& endpoints) {
  std::string names;
  for (const ListenerEndpoint& endpoint : endpoints) names += (names.empty() ? "" : ",") + endpoint.name;
  return names;
}

}  // namespace

Result<void> BrokerConfig::resolve_listeners() {
  auto protocols = read_protocol_map(get_string("listener.security.protocol.map"));
  if (!protocols) return fail(protocols.error());
  // A KRaft file names its controller's listeners too; those without a protocol of their own are PLAINTEXT, as in Kafka.
  std::set<std::string> of_controller;
  for (const std::string& name : split_csv(get_string("controller.listener.names"))) {
    of_controller.insert(upper(name));
    if (!is_set("listener.security.protocol.map")) protocols->emplace(upper(name), SecurityProtocol::kPlaintext);
  }
  auto drop_controllers = [&](std::vector<ListenerEndpoint>& endpoints) {
    std::erase_if(endpoints, [&](const ListenerEndpoint& endpoint) { return of_controller.contains(endpoint.name); });
  };

  auto listeners = read_endpoints("listeners", get_string("listeners"), *protocols);
  if (!listeners) return fail(listeners.error());
  drop_controllers(*listeners);
  if (listeners->empty()) return wrong("listeners names no listener for clients: set listeners, for instance PLAINTEXT://:9092");
  for (size_t i = 0; i < listeners->size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const ListenerEndpoint &a = (*listeners)[i], &b = (*listeners)[j];
      // One port may serve an IPv4 and an IPv6 address.
      if (a.port != 0 && a.port == b.port && (a.host == b.host || is_ipv6(a.host) == is_ipv6(b.host))) {
        return wrong(fmt::format("Each listener must have a different port, listeners: {}", get_string("listeners")));
      }
    }
  }
  listeners_ = std::move(*listeners);

  if (is_null("advertised.listeners")) {
    advertised_listeners_ = listeners_;
    for (ListenerEndpoint& endpoint : advertised_listeners_) {
      if (endpoint.host == "0.0.0.0" || endpoint.host == "::") endpoint.host.clear();
    }
  } else {
    auto advertised = read_endpoints("advertised.listeners", get_string("advertised.listeners"), *protocols);
    if (!advertised) return fail(advertised.error());
    drop_controllers(*advertised);
    for (const ListenerEndpoint& endpoint : *advertised) {
      bool known = std::any_of(listeners_.begin(), listeners_.end(), [&](const ListenerEndpoint& other) { return other.name == endpoint.name; });
      if (!known) {
        return wrong(fmt::format("advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found {}. "
                                 "The valid options based on the current configuration are {}", names_of(*advertised), names_of(listeners_)));
      }
      if (endpoint.host == "0.0.0.0") {
        return wrong("advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.");
      }
    }
    if (advertised->empty()) return wrong("advertised.listeners names no listener for clients");
    advertised_listeners_ = std::move(*advertised);
  }

  if (!is_null("inter.broker.listener.name")) {
    if (is_set("security.inter.broker.protocol")) return wrong("Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.");
    inter_broker_listener_ = upper(get_string("inter.broker.listener.name"));
    bool known = std::any_of(advertised_listeners_.begin(), advertised_listeners_.end(), [&](const ListenerEndpoint& other) { return other.name == inter_broker_listener_; });
    if (!known) {
      return wrong(fmt::format("inter.broker.listener.name must be a listener name defined in advertised.listeners. "
                               "The valid options based on currently configured listeners are {}", names_of(advertised_listeners_)));
    }
  } else {
    // Kafka takes the listener that is called as the protocol. Where it has none, which it refuses, one that speaks it will do.
    const std::string& protocol = get_string("security.inter.broker.protocol");
    auto rank = [&](const ListenerEndpoint& endpoint) { return endpoint.name == protocol ? 2 : name_of(endpoint.protocol) == protocol ? 1 : 0; };
    inter_broker_listener_ = std::max_element(advertised_listeners_.begin(), advertised_listeners_.end(),
                                              [&](const ListenerEndpoint& a, const ListenerEndpoint& b) { return rank(a) < rank(b); })->name;
  }
  control_plane_listener_.clear();
  if (!is_null("control.plane.listener.name") && get_list("process.roles").empty()) {
    control_plane_listener_ = upper(get_string("control.plane.listener.name"));
    if (control_plane_listener_ == inter_broker_listener_) {
      return wrong("control.plane.listener.name, when defined, should have a different value from the inter broker listener name. "
                   "Currently they both have the value " + control_plane_listener_);
    }
    bool known = std::any_of(advertised_listeners_.begin(), advertised_listeners_.end(), [&](const ListenerEndpoint& other) { return other.name == control_plane_listener_; });
    if (!known) {
      return wrong(fmt::format("control.plane.listener.name must be a listener name defined in advertised.listeners. "
                               "The valid options based on currently configured listeners are {}", names_of(advertised_listeners_)));
    }
  }
  return {};
}

}  // namespace odradek::config
