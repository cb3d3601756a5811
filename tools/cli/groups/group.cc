#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cli/common/admin.h"
#include "cli/common/subcommand.h"
#include "cli/groups/commands.h"
#include "cli/groups/group_state.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/list_groups.h"

namespace odradek::cli {
namespace {

using protocol::DeleteGroupsRequest;
using protocol::DeleteGroupsResponse;
using protocol::ListGroupsRequest;
using protocol::ListGroupsResponse;

struct Command {
  explicit Command(const char* name) : session(name) {}
  Session session;
  std::vector<std::string> names;
};

Result<std::vector<ListGroupsResponse::ListedGroup>> all_groups(client::Cluster& cluster) {
  if (auto metadata = cluster.metadata(std::vector<std::string>{}); !metadata) return fail(std::move(metadata.error()));
  std::vector<BrokerId> ids;
  for (const auto& [id, broker] : cluster.brokers()) ids.push_back(id);
  std::vector<ListGroupsResponse::ListedGroup> groups;
  for (BrokerId id : ids) {
    auto answer = cluster.ask<ListGroupsResponse>(client::TheBroker{id}, ListGroupsRequest{},
                                                  [](const ListGroupsResponse& response) { return code_of(response.error_code); });
    if (!answer) return fail(std::move(answer.error()));
    if (answer->message.error_code != 0) return fail(code_of(answer->message.error_code), fmt::format("groups of broker {}", id.value));
    for (auto& group : answer->message.groups) groups.push_back(std::move(group));
  }
  std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.group_id < b.group_id; });
  return groups;
}

int list(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  auto groups = all_groups(**cluster);
  if (!groups) return command.session.refused(groups.error());
  Json json = Json::array();
  std::vector<std::vector<std::string>> rows{{"GROUP", "STATE", "TYPE", "PROTOCOL"}};
  for (const auto& group : *groups) {
    rows.push_back({group.group_id, group.group_state, group.group_type, group.protocol_type});
    json.push_back({{"group", group.group_id}, {"state", group.group_state}, {"type", group.group_type}, {"protocol_type", group.protocol_type}});
  }
  if (command.session.json) {
    print_json(json);
  } else {
    print_table(rows);
  }
  return kDone;
}

std::string number_or_dash(int64_t value) { return value < 0 ? "-" : std::to_string(value); }

void show(const GroupState& group) {
  fmt::print("{}  {}  {} members{}\n", printable(group.name), group.state, group.members.size(), group.assignor.empty() ? "" : "  assignor " + group.assignor);
  std::vector<std::vector<std::string>> rows{{"  TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "CLIENT", "HOST"}};
  std::set<size_t> shown;
  for (const auto& [partition, offsets] : group.partitions) {
    const GroupState::Member* owner = nullptr;
    for (size_t i = 0; i < group.members.size(); ++i) {
      if (!std::binary_search(group.members[i].assigned.begin(), group.members[i].assigned.end(), partition)) continue;
      owner = &group.members[i];
      shown.insert(i);
    }
    rows.push_back({"  " + partition.topic, std::to_string(partition.partition), number_or_dash(offsets.committed), number_or_dash(offsets.end),
                    number_or_dash(offsets.lag()), owner ? owner->id : "-", owner ? owner->client_id : "-", owner ? owner->host : "-"});
  }
  for (size_t i = 0; i < group.members.size(); ++i) {
    if (!shown.contains(i)) rows.push_back({"  -", "-", "-", "-", "-", group.members[i].id, group.members[i].client_id, group.members[i].host});
  }
  print_table(rows);
}

Json to_json(const GroupState& group) {
  Json members = Json::array(), offsets = Json::array();
  for (const auto& member : group.members) {
    Json assigned = Json::array();
    for (const auto& partition : member.assigned) assigned.push_back({{"topic", partition.topic}, {"partition", partition.partition}});
    members.push_back({{"member", member.id}, {"instance", member.instance_id ? Json(*member.instance_id) : Json()}, {"client_id", member.client_id},
                       {"host", member.host}, {"assigned", std::move(assigned)}});
  }
  auto number = [](int64_t value) { return value < 0 ? Json() : Json(value); };
  for (const auto& [partition, each] : group.partitions) {
    offsets.push_back({{"topic", partition.topic}, {"partition", partition.partition}, {"committed", number(each.committed)},
                       {"end", number(each.end)}, {"lag", number(each.lag())}, {"metadata", each.metadata}});
  }
  return {{"group", group.name}, {"state", group.state}, {"protocol_type", group.protocol_type}, {"assignor", group.assignor},
          {"members", std::move(members)}, {"offsets", std::move(offsets)}};
}

int describe(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  std::vector<std::string> names = command.names;
  if (names.empty()) {
    auto groups = all_groups(**cluster);
    if (!groups) return command.session.refused(groups.error());
    for (const auto& group : *groups) names.push_back(group.group_id);
  }
  int exit_code = kDone;
  Json json = Json::array();
  for (const std::string& name : names) {
    auto group = read_group(**cluster, name);
    if (group && group->state == "Dead") group = fail(ErrorCode::kGroupIdNotFound, "group " + name + " does not exist");
    if (!group) {
      exit_code = command.session.refused(group.error());
      continue;
    }
    if (command.session.json) {
      json.push_back(to_json(*group));
    } else {
      show(*group);
    }
  }
  if (command.session.json) print_json(json);
  return exit_code;
}

int remove(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  int exit_code = kDone;
  Json json = Json::array();
  for (const std::string& name : command.names) {
    DeleteGroupsRequest request;
    request.groups_names = {name};
    auto answer = (*cluster)->ask<DeleteGroupsResponse>(client::TheCoordinator{client::CoordinatorType::kGroup, name}, request, [](const DeleteGroupsResponse& response) {
      return response.results.empty() ? ErrorCode::kNone : code_of(response.results[0].error_code);
    });
    if (!answer) return command.session.refused(answer.error());
    ErrorCode code = answer->message.results.empty() ? ErrorCode::kNone : code_of(answer->message.results[0].error_code);
    json.push_back({{"group", name}, {"deleted", code == ErrorCode::kNone}});
    if (code != ErrorCode::kNone) {
      json.back()["error"] = name_of(code);
      exit_code = command.session.refused({code, "group " + name});
    } else if (!command.session.json) {
      fmt::print("deleted group {}\n", printable(name));
    }
  }
  if (command.session.json) print_json(json);
  return exit_code;
}

}  // namespace

void add_group_reset(CLI::App& family, int& exit_code);

void add_group(CLI::App& app, int& exit_code) {
  CLI::App* family = app.add_subcommand("group", "Consumer groups: members, offsets, lag; move offsets, delete groups");
  family->require_subcommand(1);
  auto add = [&](const char* name, const char* full_name, const char* help, const char* footer, int (*run)(Command&)) {
    return add_subcommand(*family, exit_code, name, full_name, help, footer, run);
  };
  add("list", "group list", "All groups with their states", "Example:\n  odradek group list", list);
  {
    auto [sub, command] = add("describe", "group describe", "Members, assignments, committed offsets and lag of groups (default: all)",
                              "Example:\n  odradek group describe billing", describe);
    sub->add_option("GROUP", command->names, "Groups");
  }
  {
    auto [sub, command] = add("delete", "group delete", "Delete groups without members, with their offsets", "Example:\n  odradek group delete billing", remove);
    sub->add_option("GROUP", command->names, "Groups")->required();
  }
  add_group_reset(*family, exit_code);
}

}  // namespace odradek::cli
