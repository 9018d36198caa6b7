// ExternalKeeper: carries out what Endpoints decides for an external application: its slots are units of connections to
// places where somebody else's workers listen. Publishes those that serve, believes httpd's children that one does not
// (a late mark on a slot, and a nudge), and probes it until it does. A shell; owned by the manager.
//
// A slot's generation is the endpoint's n-th time in service, so that marks and kept connections of an earlier one
// count no more. It has no process.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/endpoint_probe.h"
#include "mod_cppfcgi/manager/endpoints.h"
#include "mod_cppfcgi/manager/keeper.h"
#include "mod_cppfcgi/manager/pool_keeper.h"
#include "mod_cppfcgi/manager/refusal_sign.h"

namespace cppfcgi {

class ExternalKeeper final : public Keeper {
 public:
  static Result<std::unique_ptr<Keeper>> open(const Surroundings& surroundings, const PoolConfig& config,
                                              const Log::File& log);
  // With the row of an earlier manager: what served goes on.
  static std::unique_ptr<Keeper> adopt(const Surroundings& surroundings, const Board::Found& found,
                                       const PoolConfig& config, const Log::File& log);
  ~ExternalKeeper() override;

  void reconfigure(const PoolConfig& config, const Log::File& log) override;
  void begin() override;
  void remove() override { is_over_ = true; }
  void restore() override { is_over_ = false; }
  void shut_down() override { is_over_ = true; }
  Board::Found abandon() override;
  bool has_config() const override { return true; }
  void turn() override;
  std::optional<Time> next_deadline() const override;
  bool is_over() const override { return is_over_; }
  void be_nudged() override;
  const PoolConfig& config() const override { return config_; }
  bool has_worker(pid_t) const override { return false; }

 private:
  struct Place {  // an endpoint, as the keeper holds it
    std::unique_ptr<EndpointProbe> probe;
    std::optional<Time> answer_due;  // of one that has connected
    std::string failure;             // of the last probe
    bool is_kept = false;            // it lets connections stay
  };

  ExternalKeeper(const Surroundings& surroundings, const Board::Found& row, const PoolConfig& config,
                 const Log::File& log);
  void perform(const EndpointActions& actions);
  void probe(std::uint32_t endpoint);
  void fail(std::uint32_t endpoint, const Error& why);
  void take_offer(std::uint32_t endpoint, std::optional<Offer> offer);
  void publish(std::uint32_t endpoint);
  template <class Function>
  void for_each_slot(std::uint32_t endpoint, Function&& function) const;

  Surroundings around_;
  Log log_;
  std::uint64_t key_;
  PoolConfig config_;
  Board::Rows rows_;
  std::vector<Place> places_;
  Endpoints endpoints_;
  bool has_begun_ = false;
  bool is_over_ = false;
  bool is_abandoned_ = false;
  RefusalSign refusal_sign_;
};

}  // namespace cppfcgi
