// An external scaler with KEDA's own generated code, as people write them in Go. What it says comes from the
// trigger's metadata, so that a test needs no way to tell it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	pb "github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

type server struct {
	pb.UnimplementedExternalScalerServer
}

func (server) IsActive(_ context.Context, ref *pb.ScaledObjectRef) (*pb.IsActiveResponse, error) {
	return &pb.IsActiveResponse{Result: ref.ScalerMetadata["active"] == "true"}, nil
}

func (server) StreamIsActive(ref *pb.ScaledObjectRef, stream pb.ExternalScaler_StreamIsActiveServer) error {
	for _, active := range []bool{false, true} {
		if err := stream.Send(&pb.IsActiveResponse{Result: active}); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

func (server) GetMetricSpec(_ context.Context, ref *pb.ScaledObjectRef) (*pb.GetMetricSpecResponse, error) {
	target, _ := strconv.ParseFloat(ref.ScalerMetadata["target"], 64)
	return &pb.GetMetricSpecResponse{MetricSpecs: []*pb.MetricSpec{
		{MetricName: ref.Namespace + "/" + ref.Name, TargetSizeFloat: target},
		{MetricName: "second", TargetSize: 7},
	}}, nil
}

func (server) GetMetrics(_ context.Context, request *pb.GetMetricsRequest) (*pb.GetMetricsResponse, error) {
	ref := request.ScaledObjectRef
	if ref.ScalerMetadata["refuse"] != "" {
		return nil, status.Errorf(codes.PermissionDenied, "not for %s", ref.ScalerMetadata["refuse"])
	}
	value, _ := strconv.ParseInt(ref.ScalerMetadata["value"], 10, 64)
	return &pb.GetMetricsResponse{MetricValues: []*pb.MetricValue{
		{MetricName: request.MetricName, MetricValue: value},
	}}, nil
}

func main() {
	address := flag.String("listen", "127.0.0.1:0", "host:port")
	cert := flag.String("cert", "", "certificate of the server, a file")
	key := flag.String("key", "", "its key, a file")
	clientCA := flag.String("client-ca", "", "authority of the clients, a file")
	flag.Parse()
	options := []grpc.ServerOption{grpc.ConnectionTimeout(10 * time.Second)}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		must(err)
		config := &tls.Config{Certificates: []tls.Certificate{pair}}
		if *clientCA != "" {
			text, err := os.ReadFile(*clientCA)
			must(err)
			config.ClientCAs = x509.NewCertPool()
			config.ClientCAs.AppendCertsFromPEM(text)
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	listener, err := net.Listen("tcp", *address)
	must(err)
	serving := grpc.NewServer(options...)
	pb.RegisterExternalScalerServer(serving, server{})
	must(serving.Serve(listener))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
