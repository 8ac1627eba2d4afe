// Logs clients in as MySQL 8 does: MariaDB, which the other tests use, has none of these ways.
package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/server"
)

// forgetful has the server ask for the whole password until it has seen it once, as a real one does.
type forgetful struct{ password string }

func (f forgetful) CheckUsername(name string) (bool, error) { return name == "app", nil }

func (f forgetful) GetCredential(name string) (string, bool, error) {
	return f.password, name == "app", nil
}

type answers struct{ server.EmptyHandler }

func (answers) UseDB(string) error { return nil }

func (answers) HandleQuery(query string) (*mysql.Result, error) {
	if query != "SELECT 7" {
		return nil, nil
	}
	rows, err := mysql.BuildSimpleTextResultset([]string{"n"}, [][]interface{}{{7}})
	return mysql.NewResult(rows), err
}

// main listens on a free port, prints it, and logs in with the method and the password it is given.
func main() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	check(err)
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	encryption := &tls.Config{Certificates: []tls.Certificate{certificate}}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	config := server.NewServer("8.4.0", mysql.DEFAULT_COLLATION_ID, os.Args[1], encoded, encryption)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		socket, err := listener.Accept()
		check(err)
		go serve(config, socket, os.Args[2])
	}
}

func serve(config *server.Server, socket net.Conn, password string) {
	session, err := config.NewCustomizedConn(socket, forgetful{password}, answers{})
	for err == nil {
		err = session.HandleCommand()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
